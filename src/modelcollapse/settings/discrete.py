"""Settings of the discrete family: a categorical distribution that is sampled and counted again and again."""

from dataclasses import dataclass
from typing import Annotated, Literal

from modelcollapse.regimes import RegimeSettings
from modelcollapse.settings.reading import Range
from modelcollapse.settings.segmented import Count, SegmentedSettings, Synthesis, synthesis_problems


@dataclass(frozen=True)
class DiscreteSettings(SegmentedSettings):
    """A categorical distribution, fitted by counting."""

    family: Literal["discrete"]
    """Names the family."""
    synthesis: Synthesis
    """Draw every sample, or only the counts that a fit sees."""


@dataclass(frozen=True)
class CategoricalSamplesSettings:
    """Real data drawn from a known categorical distribution; fresh real data are unlimited."""

    kind: Literal["categorical_samples"]
    """Names the kind of data."""
    name: str
    """Name for people and figures; not in any key."""
    rows: Count
    """Real rows (the n of the regimes, the M of the paper)."""
    states: Annotated[int, Range(low=2)]
    """Number of states."""
    zipf_exponent: Annotated[float, Range(low=0, high=10)]
    """The state of rank r has a probability in proportion to r to minus this power; 0 makes all equal."""

    @property
    def real_rows(self) -> int:
        """Rows of H."""
        return self.rows

    @property
    def numbers_per_row(self) -> int:
        """One: the number of a state."""
        return 1

    @property
    def reserved_rows(self) -> None:
        """The distribution never ends."""


def _synthesis_problems(
    model: DiscreteSettings, data: CategoricalSamplesSettings, decoding: object, regime: RegimeSettings
) -> list[str]:
    return synthesis_problems(model.synthesis, regime)


CHECKS = (_synthesis_problems,)
"""What is wrong between settings that are each allowed; each looks at few of them."""
