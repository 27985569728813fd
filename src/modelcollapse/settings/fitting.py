"""Settings of a fit epoch by epoch, and the ranges that families share."""

from dataclasses import dataclass
from typing import Annotated, Literal

from modelcollapse.regimes import RegimeSettings
from modelcollapse.settings.reading import Range

Count = Annotated[int, Range(low=1)]
OptionalCount = Annotated[int, Range(low=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(low=0)]
Reserve = Annotated[float, Range(low=0, high=0.95)]


@dataclass(frozen=True)
class EpochSettings:
    """How a network is fitted to its training set, whatever the optimiser."""

    epochs: Count
    """Passes over the training set of generations 1, 2, ..."""
    generation0_epochs: Count | None
    """Passes over the real data for generation 0, so that all regimes share it; null takes ``epochs``."""
    epoch_size: Literal["training_set", "real"]
    """What an epoch passes over: the whole training set, or as many rows as the real data has (equal compute)."""
    batch_size: Count
    """Rows (blocks, images) per optimiser step."""
    gradient_clip: Positive | None
    """Largest norm of the gradient; null leaves it as it is."""
    checkpoint: Literal["best_val", "last"]
    """Weights that are kept: those of the epoch best on the real validation split, or the last."""


def reserve_problems(reserve: float, regime: RegimeSettings) -> list[str]:
    """Why a finite data set has nothing for the regime that was never seen before, if so."""
    if reserve > 0 or regime.real_source != "fresh" or regime.real == 0:
        return []
    return [
        f"data.reserve: {reserve:g} leaves no real data that was never seen before; regime={regime.name} needs a share"
        " above 0"
    ]
