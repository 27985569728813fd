"""Reads plain mappings into frozen dataclasses, collecting every problem instead of stopping at the first.

A settings class is a dataclass whose annotations say what is allowed: ``int``, ``float``, ``bool``, ``str``,
``Literal[...]``, ``X | None``, ``tuple[X, ...]``, a nested dataclass, ``Annotated[X, Range(...)]`` for a range, and
``Annotated[Any, Registered(...)]`` (:mod:`modelcollapse.registry`) for the choice of a registered member.
"""

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, runtime_checkable

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
        lower = (
            f"above {self.above:g}"
            if self.above is not None
            else f"at least {self.low:g}"
            if self.low is not None
            else ""
        )
        upper = f"at most {self.high:g}" if self.high is not None else ""
        return " and ".join(part for part in (lower, upper) if part) or "any finite number"


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


def read(cls: type[T], values: Any, path: str = "", classes: Mapping[str, type | None] | None = None) -> T:
    """The settings object that the mapping describes.

    ``classes`` gives the class of each field that is annotated ``Any``.
    Raises SettingsError that lists every unknown, missing, mistyped or out-of-range setting.
    """
    settings, problems = read_what_can_be(cls, values, path, classes)
    if problems:
        raise SettingsError(problems)
    return settings


def read_what_can_be(
    cls: type[T], values: Any, path: str = "", classes: Mapping[str, type | None] | None = None
) -> tuple[T, list[str]]:
    """The settings object with UNKNOWN in the place of every value that is wrong, and all that is wrong.

    ``classes`` gives the class of each field that is annotated ``Any``; a field whose class is None stays UNKNOWN.
    """
    problems: list[str] = []
    return _read_dataclass(cls, values, path, problems, classes or {}), problems


def nearest(word: str, known: Iterable[str]) -> str:
    """``" (did you mean X?)"`` for the known word nearest to a misspelt one, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _read_dataclass(
    cls: Any, values: Any, path: str, problems: list[str], classes: Mapping[str, type | None] | None = None
) -> Any:
    if not isinstance(values, Mapping):
        problems.append(f"{path or 'the configuration'}: {values!r} is not a group of settings")
        return UNKNOWN
    hints = {**field_types(cls), **(classes or {})}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            allowed = ", ".join(sorted(fields))
            text = f"no such setting{nearest(str(name), fields)}; there are: {allowed}"
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
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def field_types(cls: type) -> dict[str, Any]:
    """Field of a settings class -> annotation that says what is allowed, marks left out."""
    return {name: _without_marks(hint) for name, hint in _hints(cls).items()}


def _marks(hint: Any) -> list[Any]:
    """The Execution and IntroducedAs marks of a field."""
    found = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
    return [mark for mark in found if isinstance(mark, (Execution, IntroducedAs))]


def _without_marks(hint: Any) -> Any:
    """The annotation that says what is allowed."""
    if not (marks := _marks(hint)):
        return hint
    inner, *others = typing.get_args(hint)
    kept = [other for other in others if other not in marks]
    return typing.Annotated[(inner, *kept)] if kept else inner


def identity_of(settings: Any) -> dict[str, Any]:
    """The settings that decide results, as plain JSON values: what recipes and chain ids are made of.

    Left out are fields marked :class:`Execution`, and fields marked :class:`IntroducedAs` that have the value they were
    introduced with.
    """
    found = {}
    hints = _hints(settings.__class__)
    for field in dataclasses.fields(settings):
        marks, value = _marks(hints[field.name]), getattr(settings, field.name)
        if EXECUTION not in marks and not any(isinstance(mark, IntroducedAs) and mark.value == value for mark in marks):
            found[field.name] = _plain_identity(value)
    return found


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


def _read_value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    if hint is None or value is UNKNOWN:
        return UNKNOWN
    if isinstance(value, str) and value == MISSING:
        problems.append(f"{path}: must be given ({path}=...)")
        return UNKNOWN
    if isinstance(value, Unresolved):
        problems.append(f"{path}: {value.text} leads nowhere ({value.reason}); it must be {describe(hint)}")
        return UNKNOWN
    if dataclasses.is_dataclass(hint):
        return _read_dataclass(hint, value, path, problems)
    if (reader := _reader(hint)) is not None:
        return reader.read(value, path, problems)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        if value is None:
            return None
        if dataclasses.is_dataclass(inner) or _reader(inner) is not None:
            return _read_value(inner, value, path, problems)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return _read_items(arguments[0], value, path, problems)
    accepted, converted = _convert(hint, value)
    if not accepted:
        suggestion = nearest(value, _words(hint)) if isinstance(value, str) else ""
        problems.append(Problem(path, f"{value!r} is not allowed{suggestion}; it must be {describe(hint)}", value))
        return UNKNOWN
    return converted


def _reader(hint: Any) -> Reader | None:
    metadata = getattr(hint, "__metadata__", ())
    return next((each for each in metadata if isinstance(each, Reader)), None)


def _read_items(hint: Any, values: Iterable[Any], path: str, problems: list[str]) -> Any:
    items = tuple(_read_value(hint, item, f"{path}[{index}]", problems) for index, item in enumerate(values))
    return UNKNOWN if any(item is UNKNOWN for item in items) else items


def _convert(hint: Any, value: Any) -> tuple[bool, Any]:
    """Whether the value is of the kind that the annotation names, and the value converted to it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert(next(argument for argument in arguments if argument is not type(None)), value)
    if origin is typing.Annotated:
        accepted, converted = _convert(arguments[0], value)
        return accepted and arguments[1].holds(converted), converted
    if origin is typing.Literal:
        return any(value == word and type(value) is type(word) for word in arguments), value
    if hint is bool:
        return isinstance(value, bool), value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return is_number, float(value) if is_number else value
    if hint is str:
        return isinstance(value, str) and bool(value), value
    if hint is Path:
        return isinstance(value, str) and bool(value), Path(value) if isinstance(value, str) else value
    return False, value


def _words(hint: Any) -> tuple[str, ...]:
    if typing.get_origin(hint) is typing.Literal:
        return tuple(str(word) for word in typing.get_args(hint))
    return tuple(word for argument in typing.get_args(hint) for word in _words(argument))


def describe(hint: Any) -> str:
    """What a setting with this annotation may be, in words; None stands for a class that is not known."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return f"{describe(inner)}, or null"
    if (reader := _reader(hint)) is not None:
        return reader.describe()
    if origin is typing.Annotated:
        return f"{describe(arguments[0])}, {arguments[1]}"
    if origin is typing.Literal:
        return "one of " + ", ".join(str(word) for word in arguments)
    if origin is tuple:
        return f"a list, each {describe(arguments[0])}"
    if hint is None or dataclasses.is_dataclass(hint):
        return "a group of settings"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}[hint]


Count = Annotated[int, Range(low=1)]
OptionalCount = Annotated[int, Range(low=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(low=0)]
Reserve = Annotated[float, Range(low=0, high=0.95)]
