"""What the settings of all families have in common whose generations are cheap enough to be advanced in segments."""

from dataclasses import dataclass
from typing import Annotated, Literal

from modelcollapse.regimes import RegimeSettings, compose
from modelcollapse.settings.reading import Range

Count = Annotated[int, Range(low=1)]
Synthesis = Literal["samples", "statistics"]


@dataclass(frozen=True)
class SegmentedSettings:
    """A family that runs many independent chains in one batch of tensors, many generations at a time."""

    name: str
    """Name for people and figures; not in any key."""
    replicates: Count
    """Independent chains in one batch; each has real data of its own."""
    segment_length: Count
    """Generations that are stored as one piece; what a kill loses at most."""


def synthesis_problems(synthesis: Synthesis, regime: RegimeSettings) -> list[str]:
    """Why the regime cannot do without samples, if so: sufficient statistics tell of whole sets of equal rows only."""
    draws = [draw for generation in (1, 2, 3) for draw in compose(regime, generation, seed=0)]
    if synthesis == "samples" or all(draw.stream is None and draw.weight is None for draw in draws):
        return []
    reason = "weights rows" if all(draw.stream is None for draw in draws) else "draws rows out of stored sets"
    return [
        f"model.synthesis: 'statistics' knows whole sets only, and regime={regime.name} {reason};"
        " it must be samples (model.synthesis=samples)"
    ]
