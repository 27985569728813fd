"""Settings of the Gaussian mixture family: how mixtures are fitted again and again."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.data.settings import GaussianSamplesSettings, shape_problems, singularity_problems
from modelcollapse.families.estimators import settings as estimators
from modelcollapse.families.estimators.settings import LIKELIHOODS, EstimatorSettings
from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.regimes import Regime
from modelcollapse.settings import Count, NonNegative, Positive, Range


@dataclass(frozen=True)
class GaussianMixtureSettings(EstimatorSettings):
    """A mixture of Gaussians, fitted by expectation maximisation with the rules of scikit-learn."""

    family: Literal["gaussian_mixture"]
    """Names the family."""
    components: Count
    """Gaussians in the mixture."""
    covariance: Literal["full", "diag", "spherical"]
    """What the covariance of a component may be: any, diagonal, or a multiple of the identity."""
    start: Literal["kmeans", "kmeans++", "previous"]
    """Where a fit starts: from clusters of k-means (scikit-learn's default), from single rows chosen by k-means++, or
    from the mixture of the generation before (generation 0 from clusters)."""
    tolerance: Positive
    """A fit ends once its log-likelihood changes by less, nats a row."""
    max_iterations: Count
    """Pairs of E and M step at most."""
    covariance_floor: NonNegative
    """Added to the diagonal of every covariance, so that a component on a single row has one."""
    divergence_samples: Annotated[int, Range(low=2)]
    """Samples of the first mixture that estimate the KL divergence of every generation, and in three or more dimensions
    samples of the current mixture that estimate its tail mass."""


def _component_problems(
    model: GaussianMixtureSettings, data: GaussianSamplesSettings, decoding: object, regime: Regime
) -> list[str]:
    if model.components <= data.rows:
        return []
    return [f"model.components: {model.components} must be at most data.rows={data.rows}"]


def _part_problems(
    population: PopulationSettings, model: GaussianMixtureSettings, data: Any, regime: Regime, generations: int
) -> list[str]:
    """Why a member's part of the real rows is too small for so many components, if so."""
    rows = data.rows // population.parts
    if model.components <= rows or model.components > data.rows:
        return []
    return [
        f"model.components: {model.components} must be at most {rows}, what each of {population.models} members has of"
        f" {data.rows} rows (population.data=split)"
    ]


POPULATION_CHECKS = (*estimators.POPULATION_CHECKS, _part_problems)
"""As CHECKS, of population, model, data, regime and the number of generations."""


def offers(model: object, data: Any) -> tuple[str, ...]:
    """What a scorer can ask for: the true likelihood where the true distribution is a Gaussian."""
    return LIKELIHOODS if data.kind == "gaussian_samples" else LIKELIHOODS[1:]


CHECKS = (shape_problems, singularity_problems, _component_problems)
"""What is wrong between settings that are each allowed; each looks at few of them."""
