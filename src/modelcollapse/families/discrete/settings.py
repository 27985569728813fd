"""Settings of the discrete family: a categorical distribution that is sampled and counted again and again."""

from dataclasses import dataclass
from typing import Literal

from modelcollapse.families.estimators.settings import LIKELIHOODS, EstimatorSettings, Synthesis


@dataclass(frozen=True)
class DiscreteSettings(EstimatorSettings):
    """A categorical distribution, fitted by counting."""

    family: Literal["discrete"]
    """Names the family."""
    synthesis: Synthesis
    """Draw every sample, or only the counts that a fit sees."""


def offers(model: object, data: object) -> tuple[str, ...]:
    """What a scorer can ask for: all likelihoods are known."""
    return LIKELIHOODS
