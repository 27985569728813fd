"""Overrides given as Python values, written in Hydra's grammar.

``overrides_of("experiment=quickstart", seed=3, model={"training": {"epochs": 2}})`` is ``experiment=quickstart seed=3
model.training.epochs=2``.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hydra.errors import HydraException

from modelcollapse.config.grid_bounds import DEEPEST, MOST_POINTS
from modelcollapse.config.hydra_internals import parsed
from modelcollapse.settings import SettingsError

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
"""Text that Hydra's grammar reads as it stands, unless it is one of :data:`OTHER_VALUES`."""
OTHER_VALUES = ("true", "false", "null", "nan", "inf")
SEVERAL = (list, tuple, range, set, frozenset)


def overrides_of(words: Sequence[Any], named: Mapping[str, Any], *, several: bool = False) -> list[str]:
    """The overrides, in the order in which they were given.

    Args:
        words: overrides as they are typed after ``train.py``.
        named: name -> value, or a mapping for the settings below that name; names may be dotted.
        several: a list, tuple, range or array stands for several values, each to be run; otherwise for a list.

    Raises:
        SettingsError: what is no text, number, bool, None, list or mapping of these; all such values at once.
    """
    problems = [f"{word!r} is no override; it must be text such as 'seed=3'" for word in words if not _is_text(word)]
    overrides = [word for word in words if _is_text(word)]
    for name, value in _settings(named):
        try:
            overrides.append(f"{name}={_choices(value) if several and _has_several(value) else encoded(value)}")
        except TypeError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise SettingsError(problems)
    return overrides


def has_several_values(overrides: Iterable[str]) -> list[str]:
    """The overrides that name several values of a setting. Raises SettingsError for what Hydra cannot read."""
    try:
        return [str(each.input_line) for each in parsed(list(overrides)) if each.is_sweep_override()]
    except HydraException as error:
        raise SettingsError([str(error)]) from error


def _is_text(word: Any) -> bool:
    return isinstance(word, str)


def _settings(named: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of each setting of nested mappings."""
    for name, value in named.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _has_several(value: Any) -> bool:
    return isinstance(value, SEVERAL) or hasattr(value, "tolist")


def _choices(values: Any) -> str:
    """Several values of a setting, each of which is to be run."""
    _check_count(values)
    every = list(values.tolist() if hasattr(values, "tolist") else values)
    if not every:
        raise TypeError("no value is given; it must be one or several")
    return ",".join(map(encoded, every))


def _check_count(values: Any) -> None:
    """Raise TypeError for more values than can be run, or than a setting has use for: a range is long before it is."""
    # len() of a range beyond 2^63 raises.
    if isinstance(values, range):
        is_long = bool(values[MOST_POINTS:])
    else:
        is_long = getattr(values, "size", 0) > MOST_POINTS if hasattr(values, "tolist") else len(values) > MOST_POINTS
    if is_long:
        raise TypeError(f"more than {MOST_POINTS:,} values are given")


def encoded(value: Any, depth: int = 0) -> str:
    """The value in Hydra's grammar, which reads it back as the same value.

    Raises:
        TypeError: it is no text, number, bool, None, list or mapping of these, or it is too large.
    """
    if depth > DEEPEST:
        raise TypeError(f"more than {DEEPEST} lists and mappings are within one another")
    if _has_several(value):
        _check_count(value)
    if hasattr(value, "tolist"):
        # Numbers and arrays of numpy and torch.
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, (str, PurePath)):
        return _text(str(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_name(name)}:{encoded(held, depth + 1)}" for name, held in value.items()) + "}"
    if isinstance(value, SEVERAL):
        return "[" + ",".join(encoded(held, depth + 1) for held in value) + "]"
    raise TypeError(f"{value!r} is not allowed; it must be text, a number, a bool, None, or a list or mapping of these")


def _name(name: Any) -> str:
    if not isinstance(name, str) or _text(name) != name:
        raise TypeError(f"{name!r} is no name of a setting")
    return name


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else {"nan": "nan", "inf": "inf", "-inf": "-inf"}[str(value)]


def _text(text: str) -> str:
    """Text as it stands where that is read as text, else in quotes."""
    if PLAIN.fullmatch(text) and text.lower() not in OTHER_VALUES:
        return text
    # A backslash before a quote, or at the end, must be doubled; elsewhere it stands for itself.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
