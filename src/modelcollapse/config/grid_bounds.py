"""How large a grid may be and how deep an override may be nested, checked before anything is parsed or expanded.

Hydra expands a grid to all its points in memory, whatever their number: ``seed=range(0,1e11)`` would take all of it.
"""

import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import ConfigCompositionException

from modelcollapse.errors import UserError
from modelcollapse.settings import MOST_SHOWN

MOST_POINTS = 10_000
"""Of a grid. Reading the settings of so many takes minutes already."""
DEEPEST = 100
"""Lists, mappings, function calls and names within one another in an override; Python's recursion ends at some 300."""
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
"""Text in quotes, where brackets mean nothing."""


class NestedTooDeeply(ConfigCompositionException):
    """An override holds more within one another than can be read."""


def check_nesting(words: Iterable[str]) -> None:
    """Raise NestedTooDeeply for an override that is nested deeper than :data:`DEEPEST`."""
    for word in words:
        if _depth(word) > DEEPEST:
            raise NestedTooDeeply(
                f"{_shown(word)}: nested too deeply; lists, mappings, functions and parts of a name may be {DEEPEST}"
                " within one another"
            )


def _depth(word: str) -> int:
    depth, deepest = 0, word.partition("=")[0].count(".")
    for character in QUOTED.sub("", word):
        if character in "[{(":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]})":
            depth -= 1
    return deepest


def check_grid(overrides: Sequence[Override]) -> None:
    """Raise UserError where the overrides name no point, or more than :data:`MOST_POINTS`."""
    latest = {override.get_key_element(): override for override in overrides}
    points = 1
    for override in latest.values():
        if not override.is_sweep_override() or override.is_interval_sweep():
            continue
        count = values_of(override)
        if count == 0:
            raise UserError(f"{_shown(str(override.input_line))}: it names no value, and the grid has no point")
        points *= count
        if points > MOST_POINTS:
            raise UserError(
                f"{_shown(str(override.input_line))}: with it the grid has {_counted(points)} points; {MOST_POINTS:,}"
                f" are allowed ({__name__}.MOST_POINTS): name fewer values, or run several grids on one store"
            )


def values_of(override: Override) -> int:
    """How many values an override names, of which none is made.

    Raises UserError for a range that is none.
    """
    value = override.value()
    if isinstance(value, RangeSweep):
        try:
            return _values_of_range(value)
        except (OverflowError, ValueError, ZeroDivisionError) as error:
            raise UserError(
                f"{_shown(str(override.input_line))}: a range goes from a finite number to another, by a step other"
                " than 0"
            ) from error
    return sum(1 for _ in override.sweep_iterator())


def _values_of_range(values: RangeSweep) -> int:
    assert values.start is not None
    assert values.stop is not None
    # Exact, as Hydra's own sums of decimals are at any size that is allowed.
    steps = (Fraction(values.stop) - Fraction(values.start)) / Fraction(values.step)
    return max(0, math.ceil(steps))


def _counted(points: int) -> str:
    return f"{points:,}" if points < 10**15 else "more than 10^15"


def _shown(word: str) -> str:
    return word if len(word) <= MOST_SHOWN else f"{word[:MOST_SHOWN]}..."
