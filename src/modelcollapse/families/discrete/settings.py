"""Settings of the discrete family: a categorical distribution that is sampled and counted again and again."""

from dataclasses import dataclass
from typing import Literal

from modelcollapse.data.settings import CategoricalSamplesSettings
from modelcollapse.families.estimators.settings import SegmentedSettings, Synthesis, synthesis_problems
from modelcollapse.regimes import RegimeSettings


@dataclass(frozen=True)
class DiscreteSettings(SegmentedSettings):
    """A categorical distribution, fitted by counting."""

    family: Literal["discrete"]
    """Names the family."""
    synthesis: Synthesis
    """Draw every sample, or only the counts that a fit sees."""


def _synthesis_problems(
    model: DiscreteSettings, data: CategoricalSamplesSettings, decoding: object, regime: RegimeSettings
) -> list[str]:
    return synthesis_problems(model.synthesis, regime)


CHECKS = (_synthesis_problems,)
"""What is wrong between settings that are each allowed; each looks at few of them."""
