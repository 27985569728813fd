"""Settings of labelled data whose law is known: Gaussian features, and labels by way of a linear function of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from modelcollapse.data.settings import SamplesSettings
from modelcollapse.settings import NonNegative, Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_FEATURES = 10_000


@dataclass(frozen=True)
class LabelledSamplesSettings(SamplesSettings):
    """Rows (x, y) whose features x ~ N(0, I) are labelled by way of x · w*."""

    dimension: Annotated[int, Range(low=1, high=MOST_FEATURES)]
    """Number of features."""
    signal: NonNegative
    """Norm of the true weights w*. They are equal in all coordinates: as the features have no direction, neither has
    anything that is measured."""

    @property
    def true_weights(self) -> "NDArray[np.float64]":
        """w*, [d]."""
        import numpy as np

        return np.full(self.dimension, self.signal / np.sqrt(self.dimension))

    @property
    def numbers_per_row(self) -> int:
        """The features and the label."""
        return self.dimension + 1


@dataclass(frozen=True)
class LinearSamplesSettings(LabelledSamplesSettings):
    """Real data of linear regression: y = x · w* + noise."""

    kind: Literal["linear_samples"]
    """Names the kind of data."""
    noise: NonNegative
    """Standard deviation of the noise of a label, of real rows and of those that a model writes."""


@dataclass(frozen=True)
class LogisticSamplesSettings(LabelledSamplesSettings):
    """Real data of logistic regression: y is 1 with probability 1 / (1 + exp(-x · w*)), else 0."""

    kind: Literal["logistic_samples"]
    """Names the kind of data."""
