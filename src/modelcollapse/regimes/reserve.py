"""Fresh real rows: set aside beforehand, and given to one generation each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelcollapse.regimes.composition import Regime, Source, compose, synthetic_rows
from modelcollapse.regimes.rows import DrawError, random_keys, training_rows
from modelcollapse.regimes.shares import rows_of, whole
from modelcollapse.seeding import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def fresh_rows(regime: Regime, n: int) -> int:
    """Fresh real rows of each generation t >= 1: the size of its set `Source("fresh", t)`."""
    return whole(regime.fresh * n)


def held_rows(source: Source, regime: Regime, n: int, kept: float = 1.0) -> int:
    """Rows that a source of the regime's compositions holds, ``kept`` times those that a training set draws."""
    if source.kind == "real" or source.generation is None:
        return n
    if source.kind == "fresh":
        return fresh_rows(regime, n)
    if source.kind == "synthetic":
        return rows_of(synthetic_rows(regime, source.generation), n)
    draws = compose(regime, source.generation, seed=0)
    whole_sets = {each for draw in draws if draw.rows is None for each in draw.sources}
    return rows_of(kept, training_rows(draws, {each: held_rows(each, regime, n) for each in whole_sets}, n))


def reserve_needed(regime: Regime, generations: int, n: int) -> int:
    """Real rows to set aside for a chain of generations 0 .. `generations`; 0 if none are fresh."""
    return fresh_rows(regime, n) * generations


def reserve_stream(seed: int, replicate: int = 0) -> Stream:
    """What the reserve of a chain is shuffled with, once for all generations."""
    return Stream(seed, 0, "draw.reserve", replicate)


def reserve_rows(reserve_size: int, generation: int, rows: int, stream: Stream) -> NDArray[np.int64]:
    """The row numbers of the reserve, ascending, that are the fresh set of `generation` >= 1.

    The reserve is shuffled by `stream` (`reserve_stream`), and generation t takes the t-th `rows` of it: no
    two generations share one. Raises `DrawError` when the reserve does not reach that far, `ValueError` for a
    stream that changes with the generation.
    """
    if generation < 1 or stream.generation != 0:
        raise ValueError("fresh rows are for generations from 1 on, out of one shuffle for all: see reserve_stream")
    if reserve_size < generation * rows:
        raise DrawError(
            f"data.reserve={reserve_size}: fresh real data up to generation {generation} need at least "
            f"{generation * rows} rows ({generation} times {rows})"
        )
    import numpy as np

    shuffled = np.argsort(random_keys(reserve_size, stream), kind="stable")
    return np.sort(shuffled[(generation - 1) * rows : generation * rows])
