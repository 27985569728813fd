"""Settings of the rules and scorers that have any."""

from dataclasses import dataclass
from typing import Annotated, Literal

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


@dataclass(frozen=True)
class DistanceSettings:
    """Settings of the scorer ``distance``."""

    point: tuple[Score, ...]
    """The point; a single number stands for all coordinates."""

    def row_problems(self, numbers_per_row: int) -> list[str]:
        """Why rows of so many numbers have no distance to the point."""
        if len(self.point) in (1, numbers_per_row):
            return []
        return [
            f"selection.scorer.point: {list(self.point)} must have {numbers_per_row} numbers, as a row has, or one for"
            " all of them"
        ]


@dataclass(frozen=True)
class LengthSettings:
    """Settings of the scorer ``length``."""

    unit: Literal["characters", "words"]
    """What is counted. Blocks all have as many tokens, and on the built-in language a token is a word."""


@dataclass(frozen=True)
class ImageClassSettings:
    """Settings of the scorer ``image_class``."""

    classes: tuple[Annotated[int, Range(low=0, high=999)], ...]
    """Classes that are liked; none of them: whichever the classifier is surest of."""
