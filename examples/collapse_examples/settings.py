"""Settings of the examples; imported whenever a configuration is composed, so that nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Annotated, Literal

from modelcollapse.data.settings import SamplesSettings
from modelcollapse.families.estimators.settings import EstimatorSettings
from modelcollapse.settings import Range


@dataclass(frozen=True)
class ExponentialSettings(EstimatorSettings):
    """Settings of the family ``exponential``."""

    family: Literal["exponential"]
    """Names the family."""


@dataclass(frozen=True)
class GammaSettings(SamplesSettings):
    """Settings of the data ``gamma_samples``: positive numbers, such as times that people wait."""

    kind: Literal["gamma_samples"]
    """Names the kind of data."""
    shape: Annotated[float, Range(above=0)]
    """Shape of the Gamma distribution; 1 is the exponential distribution."""
    mean: Annotated[float, Range(above=0)]
    """Its mean."""

    @property
    def numbers_per_row(self) -> int:
        """One: a time."""
        return 1


@dataclass(frozen=True)
class EveryKthSettings:
    """Settings of the regime ``every_kth``."""

    k: Annotated[int, Range(low=1)] = 2
    """Every k-th generation trains on the real data."""


@dataclass(frozen=True)
class FewestRepeatsSettings:
    """Settings of the scorer ``fewest_repeats``."""

    length: Annotated[int, Range(low=1)] = 2
    """Tokens that count as repeated where they occur together a second time."""


@dataclass(frozen=True)
class PolySettings:
    """Settings of the loss ``poly``."""

    epsilon: Annotated[float, Range(low=0)] = 1.0
    """How much more a target counts that is improbable still; 0 is cross-entropy."""


@dataclass(frozen=True)
class BoundedUpdateSettings:
    """Settings of the merge ``bounded_update``."""

    radius: Annotated[float, Range(low=0)] = 0.1
    """Longest way from generation 0's weights, in units of their norm."""
