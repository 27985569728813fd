"""Settings that all estimator families share."""

import os
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.regimes import Regime, compose, count_rows, held_rows
from modelcollapse.settings import EXECUTION, Count

Synthesis = Literal["samples", "statistics"]


@dataclass(frozen=True)
class EstimatorSettings:
    """Settings of a family that runs many independent chains in one batch of tensors, many generations at a time."""

    name: Annotated[str, EXECUTION]
    """Name for people and figures; not in any key."""
    replicates: Count
    """Independent chains in one batch; each has real data of its own."""
    segment_length: Annotated[Count, EXECUTION]
    """Generations that are stored as one artifact; what a kill loses at most."""


def synthesis_problems(model: Any, data: object, decoding: object, regime: Regime, generations: int) -> list[str]:
    """Why the regime needs samples, if it does: sufficient statistics describe whole sets of equal rows only."""
    return [] if model.synthesis == "samples" else statistics_problems(regime, generations)


def statistics_problems(regime: Regime, generations: int) -> list[str]:
    """Why the regime needs the rows themselves, if so."""
    draws = [draw for t in regime.kinds_of_generation(generations) for draw in compose(regime, t, seed=0)]
    if all(draw.stream is None and draw.weight is None and draw.reused is None for draw in draws):
        return []
    by_weight = all(draw.stream is None and draw.reused is None for draw in draws)
    reason = "weights rows" if by_weight else "draws rows out of stored sets"
    return [
        f"model.synthesis: 'statistics' knows whole sets only, and regime={regime.name} {reason};"
        " it must be samples (model.synthesis=samples)"
    ]


BYTES_PER_NUMBER = 8
COPIES_HELD = 2
"""Every set as it was drawn, and all of them one after another."""
COPIES_TRAINED = 1
"""Of the training set, in the order that the fit needs."""


def memory_problems(model: Any, data: Any, decoding: object, regime: Regime, generations: int) -> list[str]:
    """Why the generation that draws from the most sets does not fit; what to set instead."""
    by_statistics = getattr(model, "synthesis", "samples") == "statistics"
    machine = physical_memory()
    if by_statistics or machine is None:
        return []
    # Under settings of shares that is the last one.
    candidates = {generations, *list(regime.kinds_of_generation(generations))[3:]}
    each, largest = max((bytes_per_replicate(data.rows, data.numbers_per_row, regime, t), t) for t in candidates)
    if each * model.replicates <= machine:
        return []
    ways = ["a regime.window", "fewer generations or data.rows"]
    if fitting := machine // each:
        ways.insert(0, f"model.replicates={fitting}")
    if hasattr(model, "synthesis") and not statistics_problems(regime, generations):
        ways.insert(0, "model.synthesis=statistics, which holds no samples")
    return [
        f"model.replicates: {model.replicates} chains under regime={regime.name} hold samples of"
        f" {_gigabytes(each * model.replicates)} at generation {largest}, and this machine has"
        f" {_gigabytes(machine)}; choose {', '.join(ways[:-1])} or {ways[-1]}"
    ]


def bytes_per_replicate(rows: int, numbers_per_row: int, regime: Regime, generation: int) -> int:
    """Bytes of the sets that a generation draws from, and of what is made of them, for one replicate."""
    draws = compose(regime, generation, seed=0)
    sizes = {source: held_rows(source, regime, rows) for draw in draws for source in draw.sources}
    held, trained = sum(sizes.values()), sum(count_rows(draws, sizes, rows))
    return BYTES_PER_NUMBER * numbers_per_row * (COPIES_HELD * held + COPIES_TRAINED * trained)


def physical_memory() -> int | None:
    """Bytes of the machine's memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
