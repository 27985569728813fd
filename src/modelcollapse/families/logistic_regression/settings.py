"""Settings of logistic regression, fitted again and again to labels of the model before."""

from dataclasses import dataclass
from typing import Annotated, Literal

from modelcollapse.families.estimators.settings import LIKELIHOODS, EstimatorSettings
from modelcollapse.settings import IntroducedAs, NonNegative, Range


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
    flipped: Annotated[float, Range(low=0, high=1), IntroducedAs(0.0)] = 0.0
    """Probability that a label that a model writes is turned into the other one, whatever the features: how wrong
    labels are in Feng et al. (arXiv 2406.07515). Likelihoods are those of the model without it."""


def offers(model: object, data: object) -> tuple[str, ...]:
    """What a scorer can ask for: all likelihoods are known, and which labels are right."""
    return (*LIKELIHOODS, "is_right")
