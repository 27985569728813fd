"""Settings of the merges that have any, what a merge can ask for, and what is wrong between one and a family."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from modelcollapse.registry import Choice, needs_of
from modelcollapse.settings import Range

REFERENCE, PREVIOUS, STREAM = "reference", "previous", "stream"
NEEDS: Mapping[str, str] = MappingProxyType(
    {
        REFERENCE: "weights of generation 0, by the names of the fitted ones",
        PREVIOUS: "weights of the generation before, as they were merged",
        STREAM: "a modelcollapse.seeding.Stream for what is random",
    }
)
"""What a merge can ask for with ``needs``, each given as an argument of that name."""
NO_MERGE = Choice("merges", "none")


@dataclass(frozen=True)
class NegativeExtrapolationSettings:
    """Settings of the merge ``negative_extrapolation``."""

    weight: Annotated[float, Range(low=0, high=100)]
    """w: how far the weights are moved beyond generation 0's, away from the fitted ones; 0 gives generation 0's."""


@dataclass(frozen=True)
class AverageSettings:
    """Settings of the merge ``average``."""

    share: Annotated[float, Range(low=0, high=1)]
    """Share of generation 0's weights; the rest is that of the fitted ones."""


def is_merged(merge: Choice) -> bool:
    """Whether weights are changed after a fit."""
    return merge.name != NO_MERGE.name


def reference_share(merge: Choice) -> float | None:
    """Share a of generation 0's weights where theta = a theta_0 + (1 - a) theta_t; None where a merge is another."""
    own = merge.settings
    if isinstance(own, NegativeExtrapolationSettings):
        return 1 + own.weight
    return own.share if isinstance(own, AverageSettings) else None


def merge_problems(merge: Choice, offers: Collection[str], family: str) -> list[str]:
    """Why a family cannot merge in this way, if so; ``offers`` is what it can give, nothing where it merges nothing."""
    if not is_merged(merge):
        return []
    if not offers:
        return [
            f"merge.name: {merge.name!r} is not allowed with model.family={family}, whose fits have no weights that"
            " correspond to each other; choose merge=none"
        ]
    missing = [need for need in needs_of(merge) if need not in offers]
    if not missing:
        return []
    return [
        f"merge.name: {merge.name!r} needs {', '.join(missing)}, which model.family={family} does not have; it has"
        f" {', '.join(offers)}"
    ]
