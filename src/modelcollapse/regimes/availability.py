"""Checks that the rows which a regime asks for are available, where the number of real rows is known.

For synthetic benchmarks the settings give that number; for texts and images it is known once they have been read.
"""

import math
from fractions import Fraction
from typing import Any

from modelcollapse.regimes import (
    DrawError,
    Regime,
    compose,
    count_rows,
    fresh_rows,
    held_rows,
    reserve_needed,
)


def row_problems(
    regime: Regime, generations: int, data: Any, share: Fraction = Fraction(1), kept: float = 1.0
) -> list[str]:
    """Problems with the rows of generations 1 .. ``generations``.

    ``data`` says how many rows there are by ``real_rows`` and how many are set aside by ``reserved_rows``, each None
    where that depends on the data themselves; ``share`` is what a chain has of them, and ``kept`` what a
    selection keeps of a training set, in units of its rows.
    """
    if data.real_rows is None:
        return []
    reserved = data.reserved_rows
    rows = math.floor(data.real_rows * share)
    return unavailable_rows(regime, generations, rows, None if reserved is None else math.floor(reserved * share), kept)


def unavailable_rows(
    regime: Regime, generations: int, real_rows: int, reserved_rows: int | None, kept: float = 1.0
) -> list[str]:
    """Rows that the regime asks for and the data lack, a message a problem; ``reserved_rows`` None: no limit."""
    if generations == 0:
        return []
    problems = regime.small_shares(generations, real_rows)
    if not problems:
        problems = _counting_problems(regime, generations, real_rows, kept)
    needed = reserve_needed(regime, generations, real_rows)
    if reserved_rows is not None and needed > reserved_rows:
        problems.append(
            f"data.reserve: sets aside {reserved_rows} rows; regime={regime.name} needs {needed}, for each of"
            f" {generations} generations {fresh_rows(regime, real_rows)} that were never seen before. It must be more,"
            " or regime.real or generations less"
        )
    return problems


def _counting_problems(regime: Regime, generations: int, real_rows: int, kept: float) -> list[str]:
    """The problem, if any, with the count of all draws together."""
    try:
        for generation in regime.kinds_of_generation(generations):
            draws = compose(regime, generation, seed=0)
            sources = {source for draw in draws for source in draw.sources}
            count_rows(draws, {source: held_rows(source, regime, real_rows, kept) for source in sources}, real_rows)
    except DrawError as error:
        return [f"regime={regime.name}: {error}; there are {real_rows} real rows"]
    return []


def reserve_problems(reserve: float, regime: Regime) -> list[str]:
    """Why a finite data set has no fresh rows for the regime, if so."""
    if reserve > 0 or regime.fresh == 0:
        return []
    return [
        f"data.reserve: {reserve:g} leaves no real data that was never seen before; regime={regime.name} needs a share"
        " above 0"
    ]
