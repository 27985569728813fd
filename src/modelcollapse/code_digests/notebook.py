"""Definitions of names in a notebook or interpreter, where code is cells and the live namespace decides."""

import ast
import sys
from types import FunctionType, ModuleType
from typing import Any

from modelcollapse.code_digests.references import Chain, References, bound_names
from modelcollapse.code_digests.resolution import Edges, Live, Resolver, Target, library, without_decorators
from modelcollapse.code_digests.sources import SourceUnavailable, cells, code_of, nodes_at
from modelcollapse.code_digests.syntax import DefinitionNode

Namespace = dict[str, Any]


class Notebook:
    """The definitions that live namespaces hold."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._namespaces: dict[int, Namespace] = {}
        self._unnamed: dict[Live, Any] = {}

    def of_object(self, value: Any) -> list[Target]:
        """The definition of a function or class without a file; a text where it is a library's.

        Raises:
            SourceUnavailable: it is neither in a library nor in a namespace.
        """
        namespace = _namespace(value)
        if namespace is None:
            return [library(value)]
        self._namespaces[id(namespace)] = namespace
        key = Live(id(namespace), value.__qualname__.partition(".")[0])
        held = namespace.get(key.name)
        is_top = "." not in value.__qualname__
        if held is None or (is_top and held is not value and code_of(held) is not code_of(value)):
            # A lambda, or what its namespace no longer holds under its name.
            key = Live(id(namespace), f"{key.name} at {id(value)}")
            self._unnamed[key] = value
        return [key]

    def definition(self, key: Live) -> tuple[list[ast.AST] | str, Edges]:
        """The syntax trees of a definition, or the text of a plain value, and what its names refer to.

        Raises:
            SourceUnavailable: no cell holds it.
        """
        namespace = self._namespaces[key.namespace]
        value = self._unnamed[key] if key in self._unnamed else namespace[key.name]
        nodes: list[ast.AST]
        if isinstance(value, FunctionType | type) or hasattr(value, "__wrapped__"):
            nodes = _source(value)
        elif (text := plain_text(value)) is not None:
            return f"value:{text}", {}
        elif not (nodes := list(_last_binding(key.name))):
            return "object", {("type",): self.resolve_object(type(value))}
        nodes = [without_decorators(node, lambda name: self._is_of_house(name, namespace)) for node in nodes]
        found = References.of(nodes)
        return nodes, {chain: self._resolve(key.namespace, chain, found) for chain in found.chains}

    def resolve_object(self, value: Any) -> list[Target]:
        """The definition of a function or class, from a file or a cell."""
        targets = self._resolver.of_object(value)
        return self.of_object(value) if targets is None else targets

    def _resolve(self, namespace: int, chain: Chain, found: References) -> list[Target]:
        name, rest = chain[0], chain[1:]
        targets = [
            target for each in found.imports if each.bound == name for target in self._resolver.of_import(each, rest)
        ]
        if name not in self._namespaces[namespace]:
            return targets
        value = self._namespaces[namespace][name]
        if isinstance(value, ModuleType):
            return targets + self._resolver.of_module(value, rest)
        if isinstance(value, FunctionType | type):
            return targets + self.resolve_object(value)
        return [*targets, Live(namespace, name)]

    def _is_of_house(self, name: str, namespace: Namespace) -> bool:
        value = namespace.get(name.partition(".")[0])
        module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        return isinstance(module, str) and module.partition(".")[0] == self._resolver.house


def plain_text(value: Any) -> str | None:
    """A text for numbers, texts and containers of them, the same in every process; None for anything else."""
    kind = type(value)
    if value is None or kind in (bool, int, float, complex, str, bytes, range):
        return f"{kind.__name__} {hex(value) if kind is int else ascii(value)}"
    if kind not in (tuple, list, set, frozenset, dict):
        return None
    texts = [plain_text(held) for held in (value.items() if kind is dict else value)]
    known = [text for text in texts if text is not None]
    if len(known) < len(texts):
        return None
    return f"{kind.__name__} {sorted(known) if kind in (set, frozenset) else known}"


def _namespace(value: Any) -> Namespace | None:
    """The globals of a function or class that no file holds; None where it belongs to a library."""
    if isinstance(value, FunctionType):
        return value.__globals__
    module = sys.modules.get(value.__module__ or "")
    if module is None and isinstance(value, type):
        raise SourceUnavailable(f"no source for {value.__qualname__}: its module {value.__module__} is not imported")
    is_library = module is None or hasattr(module, "__file__") or module.__name__ in sys.builtin_module_names
    return None if is_library else vars(module)


def _source(value: Any) -> list[ast.AST]:
    """The statement or the lambda of a cell that defined a function or class."""
    code = code_of(value)
    for cell, statements in cells():
        if code is None or code.co_filename != cell:
            continue
        around = [each for each in statements if _spans(each, code.co_firstlineno)]
        if around and isinstance(around[0], (*DefinitionNode, ast.Assign)):
            return list(around)
        if nodes := nodes_at(statements, code.co_firstlineno):
            return nodes
    definitions = [node for node in _last_binding(value.__name__) if isinstance(node, ast.ClassDef)]
    if not definitions:
        raise SourceUnavailable(f"no source for {value.__qualname__}: define it in a file and import it from there")
    return list(definitions)


def _spans(statement: ast.stmt, line: int) -> bool:
    decorators = [each.lineno for each in getattr(statement, "decorator_list", [])]
    return min([statement.lineno, *decorators]) <= line <= (statement.end_lineno or statement.lineno)


def _last_binding(name: str) -> list[ast.stmt]:
    """The statements of the last cell that binds a name."""
    for _, statements in reversed(list(cells())):
        if nodes := [statement for statement in statements if name in bound_names(statement)]:
            return nodes
    return []
