"""Settings of the Gaussian family: how a Gaussian is estimated again and again, and the true one."""

from dataclasses import dataclass
from typing import Literal

from modelcollapse.data.settings import shape_problems, singularity_problems
from modelcollapse.families.estimators.settings import LIKELIHOODS, EstimatorSettings, Synthesis


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
