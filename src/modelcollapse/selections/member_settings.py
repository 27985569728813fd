"""Settings of the rules and scorers that have any."""

from dataclasses import dataclass
from typing import Annotated

from modelcollapse.settings import Count, NonNegative, Range

Probability = Annotated[float, Range(low=0, high=1)]
Score = Annotated[float, Range(low=-1e12, high=1e12)]


@dataclass(frozen=True)
class ThresholdSettings:
    """Settings of the rule ``threshold``."""

    at_least: Score
    """Lowest score of what passes."""


@dataclass(frozen=True)
class VerifierSettings:
    """Settings of the rule ``verifier``."""

    at_least: Score
    """Lowest score of a candidate that is right."""
    keeps_right: Annotated[float, Range(above=0, high=1)]
    """phi: probability that a candidate that is right passes."""
    keeps_wrong: Probability
    """psi: probability that one that is wrong passes."""


@dataclass(frozen=True)
class ResampleSettings:
    """Settings of the rule ``resample``."""

    exponent: NonNegative
    """b: a candidate of score s is drawn in proportion to s^b."""
    most_repeats: Count
    """How often a candidate is kept at most."""


@dataclass(frozen=True)
class TournamentSettings:
    """Settings of the rule ``tournament``."""

    sharpness: NonNegative
    """Multiplies the scores: 0 chooses at random, 1 is the Bradley-Terry model, many choose the best."""


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of the scorer ``detector``."""

    features: Annotated[int, Range(low=16, high=2**20)]
    """Columns that n-grams of tokens are hashed to."""
    longest_ngram: Annotated[int, Range(low=1, high=5)]
    """Tokens of the longest n-gram that counts."""
    ridge: Annotated[float, Range(above=0, high=1e6)]
    """Penalty of the logistic regression."""
    folds: Annotated[int, Range(low=2, high=20)]
    """Parts of the rows; each is scored by a detector that was trained on the others."""
