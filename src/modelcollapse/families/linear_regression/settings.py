"""Settings of linear regression, fitted again and again to labels of the model before."""

from dataclasses import dataclass
from typing import Any, Literal

from modelcollapse.families.estimators.settings import LIKELIHOODS, EstimatorSettings, Synthesis
from modelcollapse.settings import NonNegative

Features = Literal["same", "fresh"]


@dataclass(frozen=True)
class LinearRegressionSettings(EstimatorSettings):
    """Least squares without intercept, ridgeless or with a ridge."""

    family: Literal["linear_regression"]
    """Names the family."""
    ridge: NonNegative
    """lambda of the objective, mean (y - x · w)^2 + lambda |w|^2; 0 is ridgeless: where many weights fit equally well,
    those of least norm."""
    features: Features
    """What models write labels for: the features of the real rows again (Gerstgrasser et al.), or fresh ones."""
    synthesis: Synthesis
    """Keep every row, or only the sums over them that a fit sees: the same rows, and less to hold and to add up where
    sets accumulate."""


def offers(model: object, data: Any) -> tuple[str, ...]:
    """What a scorer can ask for: labels without noise have no density."""
    return LIKELIHOODS if data.noise > 0 else ()
