"""Reads plain mappings into frozen dataclasses, collecting every problem instead of stopping at the first.

A settings class is a dataclass whose annotations say what is allowed: ``int``, ``float``, ``bool``, ``str``,
``Literal[...]``, ``X | None``, ``tuple[X, ...]``, a nested dataclass, and ``Annotated[X, Range(...)]`` for a range.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class SettingsError(Exception):
    """Everything that is wrong with a configuration, one problem a line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


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


def read(cls: type[T], values: Any, path: str = "", classes: Mapping[str, type] | None = None) -> T:
    """The settings object that the mapping describes.

    ``classes`` gives the class of each field that is annotated ``Any``.
    Raises SettingsError that lists every unknown, missing, mistyped or out-of-range setting.
    """
    problems: list[str] = []
    settings = _read_dataclass(cls, values, path, problems, classes or {})
    if problems:
        raise SettingsError(problems)
    return settings


def nearest(word: str, known: Iterable[str]) -> str:
    """``" (did you mean X?)"`` for the known word nearest to a misspelt one, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _read_dataclass(
    cls: Any, values: Any, path: str, problems: list[str], classes: Mapping[str, type] | None = None
) -> Any:
    if not isinstance(values, Mapping):
        problems.append(f"{path or 'the configuration'}: {values!r} is not a group of settings")
        return None
    hints = {**typing.get_type_hints(cls, include_extras=True), **(classes or {})}
    known_problems = len(problems)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            allowed = ", ".join(sorted(fields))
            problems.append(f"{_join(path, name)}: no such setting{nearest(str(name), fields)}; there are: {allowed}")
    found = {}
    for name, field in fields.items():
        if name in values:
            found[name] = _read_value(hints[name], values[name], _join(path, name), problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{_join(path, name)}: is missing; it must be {describe(hints[name])}")
    return cls(**found) if len(problems) == known_problems else None


def _join(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)


def _read_value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    if dataclasses.is_dataclass(hint):
        return _read_dataclass(hint, value, path, problems)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        if value is None:
            return None
        if dataclasses.is_dataclass(inner):
            return _read_dataclass(inner, value, path, problems)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_read_value(arguments[0], item, f"{path}[{i}]", problems) for i, item in enumerate(value))
    accepted, converted = _convert(hint, value)
    if not accepted:
        suggestion = nearest(value, _words(hint)) if isinstance(value, str) else ""
        problems.append(f"{path}: {value!r} is not allowed{suggestion}; it must be {describe(hint)}")
    return converted


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
    """What a setting with this annotation may be, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return f"{describe(inner)}, or null"
    if origin is typing.Annotated:
        return f"{describe(arguments[0])}, {arguments[1]}"
    if origin is typing.Literal:
        return "one of " + ", ".join(str(word) for word in arguments)
    if origin is tuple:
        return f"a list, each {describe(arguments[0])}"
    if dataclasses.is_dataclass(hint):
        return "a group of settings"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}[hint]
