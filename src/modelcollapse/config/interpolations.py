"""OmegaConf's interpolations, ``${...}``: which resolvers a text names, and how much resolving a value may take.

A text is read by OmegaConf's own grammar, so that no spelling of a resolver is overlooked. References that double what
they refer to, again and again, would take all memory: what one value may refer to is bounded. So are aliases of YAML.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf.base import Container
from omegaconf.errors import GrammarParseError, InterpolationResolutionError
from omegaconf.grammar_parser import OmegaConfGrammarParser, ParserRuleContext, parse

MOST_CHARACTERS = 10_000
"""Of a text that holds references."""
MOST_REFERENCES = 100
"""That are followed for one value."""
LONGEST_WAY = 20
"""References from one to the next: Python's recursion ends at about 80."""
LONGEST_TEXT = 100_000
"""Characters of a text that references make."""
MOST_VALUES = 100_000
"""Of a group, where references in it stand for what they refer to."""
DEEPEST = 100
"""Groups within groups, where references stand for what they refer to."""


MOST_BYTES = 1_000_000
"""Of a file of settings."""
ALIAS = re.compile(rb"(^|[\s,\[{:-])[&*]\w", re.MULTILINE)
"""What YAML's anchors and aliases look like."""
NESTED = re.compile(rb"(?:\$\{[^{}]*){21}|(?:[\[{][^][{}]*){101}")
"""More references, or lists, within one another than anybody has a use for: parsing takes minutes for thousands."""


class ReferenceTooLarge(InterpolationResolutionError):
    """Resolving a reference would take more than settings have any use for."""


@dataclass(frozen=True)
class NamedResolver:
    """A resolver in a text, ``${name:argument,...}``."""

    name: str | None
    """None where a reference makes the name."""
    argument: str
    """The first argument as written."""


def named_resolvers(text: str) -> list[NamedResolver]:
    """The resolvers that a text names, those within arguments of others too; none where it is no valid text.

    Raises:
        ReferenceTooLarge: it is too long, or nested too deeply, to be read.
    """
    if "${" not in text or ":" not in text:
        return []
    if len(text) > MOST_CHARACTERS:
        raise ReferenceTooLarge(f"a text with references may have {MOST_CHARACTERS:,} characters")
    try:
        return list(_resolvers(parse(text)))
    except GrammarParseError:
        # It cannot be resolved either.
        return []
    except RecursionError as error:
        raise ReferenceTooLarge("its references are nested too deeply") from error


def _resolvers(tree: Any) -> Iterator[NamedResolver]:
    if isinstance(tree, OmegaConfGrammarParser.InterpolationResolverContext):
        name, arguments = tree.resolverName(), tree.sequence()
        made = any(isinstance(part, ParserRuleContext) for part in name.getChildren())
        first = "" if arguments is None else arguments.getChild(0).getText()
        yield NamedResolver(None if made else name.getText(), first.strip(" '\""))
    if isinstance(tree, ParserRuleContext):
        for child in tree.getChildren():
            yield from _resolvers(child)


class _Following:
    """The references that are followed for the value at hand."""

    def __init__(self) -> None:
        self._depth = self._count = 0
        self._was_too_large = False

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a reference; after one that was too large, none is followed any more: others may refer to it."""
        if self._was_too_large:
            raise InterpolationResolutionError("another reference is too large")
        self._count = self._count + 1 if self._depth else 1
        self._depth += 1
        try:
            if self._count > MOST_REFERENCES:
                raise ReferenceTooLarge(f"it refers to more than {MOST_REFERENCES} others")
            if self._depth > LONGEST_WAY:
                raise ReferenceTooLarge(f"it leads to more than {LONGEST_WAY} references, one after the other")
            yield
        except ReferenceTooLarge:
            self._was_too_large = True
            raise
        finally:
            self._depth -= 1


@contextmanager
def bounded() -> Iterator[None]:
    """Within the block, a value that refers to more than :data:`MOST_REFERENCES` others, or grows too long, raises."""
    resolve, following = Container.resolve_parse_tree, _Following()

    def counted(self: Container, *arguments: Any, **keywords: Any) -> Any:
        with following.one_more():
            value = resolve(self, *arguments, **keywords)
            if isinstance(value, str) and len(value) > LONGEST_TEXT:
                raise ReferenceTooLarge(f"its references make a text of more than {LONGEST_TEXT:,} characters")
            return value

    Container.resolve_parse_tree = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Container.resolve_parse_tree = resolve  # type: ignore[method-assign]


def size_problem(inner: Mapping[int, Sequence[int]], whole: int) -> str | None:
    """Why a group is too large once references in it stand for what they refer to; None where it is not.

    Args:
        inner: group -> groups in it, as often as they are there, and as many zeros as it has other values.
        whole: the group.
    """
    sizes: dict[int, int] = {0: 1}
    return _size_problem(inner, whole, sizes, ())


def _size_problem(
    inner: Mapping[int, Sequence[int]], group: int, sizes: dict[int, int], above: tuple[int, ...]
) -> str | None:
    if group in above:
        return "it refers to itself"
    if len(above) > DEEPEST:
        return f"its references are nested more than {DEEPEST} deep"
    for each in inner.get(group, ()):
        if each not in sizes and (problem := _size_problem(inner, each, sizes, (*above, group))):
            return problem
    sizes[group] = 1 + sum(sizes[each] for each in inner.get(group, ()))
    return f"its references make more than {MOST_VALUES:,} values of it" if sizes[group] > MOST_VALUES else None


def file_problem(path: Path) -> str | None:
    """Why a file of settings is too large or deep, with its YAML aliases followed; None where it is not, or no YAML."""
    content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else None
    if content is None:
        return f"is larger than {MOST_BYTES:,} bytes"
    if NESTED.search(content):
        return f"references in it are nested more than {LONGEST_WAY} deep, or lists and mappings {DEEPEST} deep"
    if not ALIAS.search(content):
        return None
    try:
        whole = yaml.compose(content, yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        # Whoever reads it says so.
        return None
    inner: dict[int, list[int]] = {}
    _note_aliases(whole, inner)
    return size_problem(inner, id(whole))


def _note_aliases(whole: Any, inner: dict[int, list[int]]) -> None:
    waiting = [whole]
    while waiting:
        node = waiting.pop()
        if id(node) in inner or not isinstance(node, yaml.CollectionNode):
            continue
        children = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
        inner[id(node)] = [id(child) if isinstance(child, yaml.CollectionNode) else 0 for child in children]
        waiting += children
