"""Settings of the Gaussian family: how a Gaussian is estimated again and again, and the true one."""

from dataclasses import dataclass
from typing import Literal

from modelcollapse.data.settings import GaussianSamplesSettings, shape_problems, singularity_problems
from modelcollapse.families.estimators import settings as estimators
from modelcollapse.families.estimators.settings import LIKELIHOODS, EstimatorSettings, Synthesis
from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.regimes import Regime


@dataclass(frozen=True)
class GaussianSettings(EstimatorSettings):
    """A Gaussian of any dimension, fitted by its moments."""

    family: Literal["gaussian"]
    """Names the family."""
    estimator: Literal["biased", "unbiased"]
    """Covariance with 1/M (the authors' code, maximum likelihood) or 1/(M-1) (the paper's theorem)."""
    synthesis: Synthesis
    """Draw every sample, or only the sufficient statistics that a fit sees: exact in distribution, at a cost that
    does not grow with the rows."""


def offers(model: object, data: object) -> tuple[str, ...]:
    """What a scorer can ask for: all likelihoods are known."""
    return LIKELIHOODS


CHECKS = (shape_problems, singularity_problems)
"""What is wrong between settings that are each allowed; each looks at few of them."""


def _part_problems(
    population: PopulationSettings,
    model: GaussianSettings,
    data: GaussianSamplesSettings,
    regime: Regime,
    generations: int,
) -> list[str]:
    """Why a member's part of the real rows is too small to estimate a covariance, if so."""
    rows, needed = data.rows // population.parts, len(data.mean) + 1
    if population.parts == 1 or rows >= needed or data.rows < needed:
        return []
    return [
        f"population.models: {population.models} members have {rows} of {data.rows} rows each, which leaves a"
        f" covariance of {needed - 1} dimensions singular; it must be at most {data.rows // needed}"
    ]


POPULATION_CHECKS = (*estimators.POPULATION_CHECKS, _part_problems)
"""As CHECKS, of population, model, data, regime and the number of generations."""
