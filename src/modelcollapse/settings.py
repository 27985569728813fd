"""Reads plain mappings into frozen dataclasses, collecting every problem instead of stopping at the first.

A settings class is a dataclass whose annotations say what is allowed: ``int``, ``float``, ``bool``, ``str``,
``Literal[...]``, ``X | None``, ``tuple[X, ...]``, a nested dataclass, ``Annotated[X, Range(...)]`` for a range,
``Annotated[str, Characters(...)]`` for the length of a text, and ``Annotated[Any, Registered(...)]``
(:mod:`modelcollapse.registry`) for the choice of a registered member.
"""

import dataclasses
import difflib
import functools
import math
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


class SettingsError(Exception):
    """All problems of a configuration, one a line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(map(str, problems))
        super().__init__("\n".join(self.problems))


class Problem(str):
    """A problem of one setting, as text, with the setting and the value that was given."""

    def __new__(cls, setting: str, text: str, value: Any = None, is_unknown: bool = False) -> "Problem":
        """The text ``setting: text``."""
        problem = super().__new__(cls, f"{setting}: {text}")
        problem.setting, problem.value, problem.is_unknown = setting, value, is_unknown
        return problem

    setting: str
    """Full name of the setting."""
    value: Any
    """The value that is not allowed."""
    is_unknown: bool
    """Whether there is no such setting."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``; ``above`` excludes the lower end."""

    low: float | None = None
    high: float | None = None
    above: float | None = None

    def holds(self, value: float) -> bool:
        """Whether the value lies in the range; NaN and infinities never do."""
        return (
            math.isfinite(value)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )

    def __str__(self) -> str:
        limits = (("above", self.above), ("at least", self.low), ("at most", self.high))
        given = [f"{words} {limit:g}" for words, limit in limits if limit is not None]
        return " and ".join(given) or "any finite number"


@dataclasses.dataclass(frozen=True)
class Characters:
    """Text of at most ``most`` characters, none of them in ``without``."""

    most: int
    without: str = ""

    def holds(self, value: str) -> bool:
        """Whether the text is such."""
        return len(value) <= self.most and not set(value) & set(self.without)

    def __str__(self) -> str:
        return f"at most {self.most} characters" + (f", none of {' '.join(self.without)}" if self.without else "")


@runtime_checkable
class Reader(Protocol):
    """An annotation that reads its value itself, ``Annotated[Any, reader]``."""

    def read(self, value: Any, path: str, problems: list[str]) -> Any:
        """The value as settings hold it, or UNKNOWN and what is wrong with it, added to ``problems``."""
        ...

    def describe(self) -> str:
        """What the value may be, in words."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """A value that stands for something registered, and says itself what of it decides results."""

    def recipe(self) -> dict[str, Any]:
        """What it adds to a recipe, as plain JSON values."""
        ...


@dataclasses.dataclass(frozen=True)
class Execution:
    """Marks an execution field (device, batch size, label): it is part of no key and of no chain id.

    Every other field is identity: it decides results.
    """


EXECUTION = Execution()


@dataclasses.dataclass(frozen=True)
class IntroducedAs:
    """Marks a field that was added later, with the value that means what was done before there was the field.

    Where the field has that value it is left out of recipes, so that a new option changes no key of what exists. The
    value is frozen: it stays when the default changes.
    """

    value: Any


@dataclasses.dataclass(frozen=True)
class Files:
    """Marks a setting that says where files lie, whose content is in keys: in another place they lie elsewhere."""

    or_hub: bool = False
    """Whether the id of a repository of the hub may stand there too."""


FILES, FILES_OR_HUB = Files(), Files(or_hub=True)


MOST = 10**12
"""The largest whole number of a setting whose range has no upper end: larger ones overflow in NumPy and torch, where
this many rows or bytes are just too many for the machine."""
MOST_SHOWN = 100
"""Characters of a value that a message shows."""
MISSING = "???"
"""How a configuration says that a value must be given."""


@dataclasses.dataclass(frozen=True)
class Unresolved:
    """A value that refers to another one which does not exist."""

    text: str
    """The reference, as it is written."""
    reason: str
    """Why it leads nowhere."""
    is_consequence: bool = False
    """Whether it refers to a value that must be given, and is not."""


class UseOfUnknownError(Exception):
    """A computation used a setting whose value is not allowed, so that its result is unknown."""


class Unknown:
    """Stands for a setting whose value is not allowed: every use of it raises UseOfUnknownError.

    So settings that are wrong in one place can still be checked in all others.
    """

    def _refuse(self, *arguments: Any) -> Any:
        raise UseOfUnknownError

    __getattr__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __hash__ = __call__ = _refuse
    __len__ = __iter__ = __reversed__ = __getitem__ = __contains__ = __str__ = __repr__ = __format__ = _refuse
    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __divmod__ = __pow__ = _refuse
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rdivmod__ = __rpow__ = _refuse
    __and__ = __or__ = __xor__ = __rand__ = __ror__ = __rxor__ = __lshift__ = __rlshift__ = __rshift__ = _refuse
    __neg__ = __pos__ = __abs__ = __invert__ = __round__ = __int__ = __float__ = __complex__ = __index__ = _refuse
    __trunc__ = __floor__ = __ceil__ = __rrshift__ = __matmul__ = __rmatmul__ = _refuse


UNKNOWN = Unknown()


def read_what_can_be(
    cls: type[T], values: Any, path: str = "", classes: Mapping[str, type | None] | None = None
) -> tuple[T, list[str]]:
    """The settings object with UNKNOWN in the place of every value that is wrong, and all that is wrong, a line each.

    ``classes`` gives the class of each field that is annotated ``Any``; a field whose class is None stays UNKNOWN.
    """
    problems: list[str] = []
    return _read_dataclass(cls, values, path, problems, classes or {}), problems


def nearest(word: object, known: Iterable[str]) -> str:
    """``" (did you mean X?)"`` for the known word nearest to a misspelt one; nothing for what is no word."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6) if isinstance(word, str) else ()
    return f" (did you mean {close[0]}?)" if close else ""


def _read_dataclass(
    cls: Any, values: Any, path: str, problems: list[str], classes: Mapping[str, type | None] | None = None
) -> Any:
    if not isinstance(values, Mapping):
        problems.append(f"{path or 'the configuration'}: {shown(values)} is not a group of settings")
        return UNKNOWN
    hints = {**field_types(cls), **(classes or {})}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            known = ", ".join(sorted(fields))
            text = f"no such setting{nearest(name, fields)}; there are: {known}"
            problems.append(Problem(_join(path, name), text, values[name], is_unknown=True))
    found = {}
    for name, field in fields.items():
        if name in values:
            found[name] = _read_value(hints[name], values[name], _join(path, name), problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{_join(path, name)}: is missing; it must be {describe(hints[name])}")
            found[name] = UNKNOWN
    return cls(**found)


@functools.cache
def field_types(cls: Any) -> dict[str, Any]:
    """Field of a settings class -> its annotation; :func:`allowed` takes one apart."""
    return typing.get_type_hints(cls, include_extras=True)


def _decides(hint: Any, value: Any) -> bool:
    """Whether a field of this annotation decides results, and is not what was done before there was the field."""
    marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    return not any(
        isinstance(mark, Execution) or (isinstance(mark, IntroducedAs) and mark.value == value) for mark in marks
    )


def identity_of(settings: Any) -> dict[str, Any]:
    """The settings that decide results, as plain JSON values: what recipes and chain ids are made of.

    Left out are fields marked :class:`Execution`, and fields marked :class:`IntroducedAs` that have the value they were
    introduced with.
    """
    hints = field_types(settings.__class__)
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return {name: _plain_identity(value) for name, value in values.items() if _decides(hints[name], value)}


def file_settings(settings: Any, path: str = "") -> Iterator[tuple[str, str, Files]]:
    """Full name, value and mark of each setting that says where files lie, where it says so."""
    hints = field_types(settings.__class__)
    for field in dataclasses.fields(settings):
        value, mark = getattr(settings, field.name), allowed(hints[field.name]).files
        if mark is not None and value is not None:
            yield _join(path, field.name), str(value), mark
        elif dataclasses.is_dataclass(own := _own_settings(value)) and not isinstance(own, type | Choosing):
            yield from file_settings(own, _join(path, field.name))


def may_differ(settings: Any, name: str) -> bool:
    """Whether a setting, by its full name, decides no result: it is execution, or says where files lie."""
    for part in name.split("."):
        if not dataclasses.is_dataclass(settings) or part not in (hints := field_types(settings.__class__)):
            return False
        if allowed(hints[part]).files is not None or is_execution(hints[part]):
            return True
        settings = _own_settings(getattr(settings, part))
    return False


def _own_settings(value: Any) -> Any:
    """The settings of a chosen member, which are named as if they were the value's own; else the value."""
    return getattr(value, "settings", value) if isinstance(value, Choosing) else value


def is_execution(hint: Any) -> bool:
    """Whether a field of this annotation is marked as execution."""
    marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
    return any(isinstance(mark, Execution) for mark in marks)


def _plain_identity(value: Any) -> Any:
    if isinstance(value, Choosing):
        return value.recipe()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return identity_of(value)
    if isinstance(value, Mapping):
        return {str(name): _plain_identity(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_identity(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _join(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)


class Allowed(NamedTuple):
    """What a setting may be: its annotation taken apart."""

    kind: Any
    """int, float, bool, str, Path, tuple, Literal, a settings class, a Reader; None for a class that is not known."""
    values: tuple[Any, ...] = ()
    """The values of a Literal."""
    item: Any = None
    """The annotation of each item of a tuple."""
    range: Range | None = None
    """The numbers that are allowed, where not all are."""
    characters: Characters | None = None
    """The texts that are allowed, where not all are."""
    optional: bool = False
    """Whether it may be null."""
    files: Files | None = None
    """That it says where files lie."""


@functools.cache
def allowed(hint: Any) -> Allowed:
    """What an annotation of a settings class allows."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (present,) = (argument for argument in arguments if argument is not types.NoneType)
        return allowed(present)._replace(optional=True)
    if origin is Annotated:
        reader = next((note for note in arguments[1:] if isinstance(note, Reader)), None)
        limits = next((note for note in arguments[1:] if isinstance(note, Range)), None)
        texts = next((note for note in arguments[1:] if isinstance(note, Characters)), None)
        files = next((note for note in arguments[1:] if isinstance(note, Files)), None)
        inner = Allowed(reader) if reader is not None else allowed(arguments[0])
        return inner._replace(
            range=limits or inner.range, characters=texts or inner.characters, files=files or inner.files
        )
    if origin is Literal:
        return Allowed(Literal, values=arguments)
    return Allowed(tuple, item=arguments[0]) if origin is tuple else Allowed(hint)


def _read_value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    if hint is None or value is UNKNOWN:
        return UNKNOWN
    if isinstance(value, str) and value == MISSING:
        problems.append(f"{path}: must be given ({path}=...)")
        return UNKNOWN
    if isinstance(value, Unresolved):
        problems.append(f"{path}: {value.text} leads nowhere ({value.reason}); it must be {describe(hint)}")
        return UNKNOWN
    what = allowed(hint)
    if value is None and what.optional:
        return None
    if isinstance(what.kind, Reader):
        return what.kind.read(value, path, problems)
    if dataclasses.is_dataclass(what.kind):
        return _read_dataclass(what.kind, value, path, problems)
    if what.kind is tuple and isinstance(value, list | tuple):
        return _read_items(what.item, value, path, problems)
    if what.kind is tuple and isinstance(value, str | Mapping) and isinstance(allowed(what.item).kind, Reader):
        # In the place of a list of members a single one may stand, as in logger=csv.
        item = _read_value(what.item, value, path, problems)
        return UNKNOWN if item is UNKNOWN else (item,)
    converted = _converted(what, value)
    if converted is UNKNOWN:
        suggestion = nearest(value, map(str, what.values))
        limit = f", at most {MOST:g}" if _is_beyond(what, value) else ""
        text = f"{shown(value)} is not allowed{suggestion}; it must be {describe(hint)}{limit}"
        problems.append(Problem(path, text, value))
    return converted


def _read_items(hint: Any, values: Iterable[Any], path: str, problems: list[str]) -> Any:
    items = tuple(_read_value(hint, item, f"{path}[{index}]", problems) for index, item in enumerate(values))
    return UNKNOWN if any(item is UNKNOWN for item in items) else items


def _converted(what: Allowed, value: Any) -> Any:
    """The single value as the setting holds it; UNKNOWN where it is not allowed."""
    if what.kind is Literal:
        return value if any(value == word and type(value) is type(word) for word in what.values) else UNKNOWN
    if what.kind is bool:
        return value if isinstance(value, bool) else UNKNOWN
    if what.kind in (int, float):
        return _number(what, value)
    if what.kind in (str, Path):
        is_text = isinstance(value, str) and bool(value)
        return what.kind(value) if is_text and (what.characters is None or what.characters.holds(value)) else UNKNOWN
    return UNKNOWN


def _number(what: Allowed, value: Any) -> Any:
    """The number as the setting holds it; UNKNOWN where it is none, or outside of the range."""
    if isinstance(value, bool) or not isinstance(value, int if what.kind is int else (int, float)):
        return UNKNOWN
    fits = abs(value) <= sys.float_info.max and not _is_beyond(what, value)
    return what.kind(value) if fits and (what.range is None or what.range.holds(value)) else UNKNOWN


def _is_beyond(what: Allowed, value: Any) -> bool:
    """Whether it is a whole number that no range excludes, and too large all the same."""
    is_open = what.range is None or what.range.high is None
    return what.kind is int and is_open and isinstance(value, int) and abs(value) > MOST


def shown(value: Any) -> str:
    """A value as messages show it, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:
        # Python refuses to write out whole numbers of more than 4300 digits.
        return "a number of thousands of digits"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def describe(hint: Any) -> str:
    """What a setting with this annotation may be, in words; None stands for a class that is not known."""
    what = allowed(hint)
    limits = "".join(f", {limit}" for limit in (what.range, what.characters) if limit)
    return _described(what) + limits + (", or null" if what.optional else "")


def _described(what: Allowed) -> str:
    if isinstance(what.kind, Reader):
        return what.kind.describe()
    if what.kind is Literal:
        words = (str(value).lower() if isinstance(value, bool) else str(value) for value in what.values)
        return f"one of {', '.join(words)}"
    if what.kind is tuple:
        return f"a list, each {describe(what.item)}"
    if what.kind is None or dataclasses.is_dataclass(what.kind):
        return "a group of settings"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}[what.kind]


Count = Annotated[int, Range(low=1)]
OptionalCount = Annotated[int, Range(low=0)]
Processes = Annotated[int, Range(low=1, high=10_000)]
Seed = Annotated[int, Range(low=0, high=2**63 - 1)]
Positive = Annotated[float, Range(above=0, high=1e6)]
NonNegative = Annotated[float, Range(low=0, high=1e6)]
Reserve = Annotated[float, Range(low=0, high=0.95)]
