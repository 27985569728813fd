"""Settings of logistic regression, fitted again and again to labels of the model before."""

from dataclasses import dataclass
from typing import Literal

from modelcollapse.families.estimators.settings import EstimatorSettings
from modelcollapse.settings import NonNegative


@dataclass(frozen=True)
class LogisticRegressionSettings(EstimatorSettings):
    """Maximum likelihood without intercept, or with a ridge."""

    family: Literal["logistic_regression"]
    """Names the family."""
    ridge: NonNegative
    """lambda of the objective, mean cross-entropy + lambda |w|^2; above 0 there is a fit even where a plane separates
    the labels."""
    features: Literal["same", "fresh"]
    """What models write labels for: the features of the real rows again, or fresh ones."""
