"""The built-in rules: which of the candidates are kept, given a score for each.

A rule is called with the number of candidates, the number of rows wanted, and by keyword what its registration says
that it needs: ``scores`` [candidates] float64, higher is better, ``stream``, of which it draws what is random, and
``shortfall``, what happens where too few pass. It returns the numbers of exactly the rows wanted, where a row may stand
twice, or a pair of these and their weights.
"""

import numpy as np
import torch

from modelcollapse.errors import UserError
from modelcollapse.regimes.rows import random_keys
from modelcollapse.seeding import Stream
from modelcollapse.selections.settings import Shortfall


class Random:
    """Keeps a random choice without replacement: the control for selections by content."""

    def __call__(self, candidates: int, wanted: int, *, stream: Stream) -> torch.Tensor:
        """Rows [wanted], ascending; every choice is equally likely."""
        chosen = np.argsort(random_keys(candidates, stream), kind="stable")[:wanted]
        return torch.from_numpy(np.sort(chosen))


class Top:
    """Keeps the candidates with the highest scores; of equal ones those that were generated first."""

    def __call__(self, candidates: int, wanted: int, *, scores: torch.Tensor) -> torch.Tensor:
        """Rows [wanted], ascending."""
        best_first = torch.argsort(scores, descending=True, stable=True)
        return best_first[:wanted].sort().values


class Threshold:
    """Keeps a random choice, without replacement, of the candidates whose score is high enough."""

    def __init__(self, at_least: float) -> None:
        self._at_least = at_least

    def __call__(
        self, candidates: int, wanted: int, *, scores: torch.Tensor, stream: Stream, shortfall: Shortfall
    ) -> torch.Tensor:
        """Rows [wanted], ascending. Raises UserError where too few pass and ``shortfall`` is ``stop``."""
        return _choice_of(scores >= self._at_least, wanted, stream, shortfall)


class Verifier:
    """Keeps a random choice of what an imperfect verifier passes (Feng et al., arXiv 2406.07515).

    A candidate is right where its score is at least ``at_least``. It passes with probability ``keeps_right`` (phi)
    where it is, with ``keeps_wrong`` (psi) where it is not. A classifier fitted to labels of which a share p is wrong
    succeeds after it for p below 1 / (1 + psi / phi).
    """

    def __init__(self, at_least: float, keeps_right: float, keeps_wrong: float) -> None:
        self._at_least, self._keeps_right, self._keeps_wrong = at_least, keeps_right, keeps_wrong

    def __call__(
        self, candidates: int, wanted: int, *, scores: torch.Tensor, stream: Stream, shortfall: Shortfall
    ) -> torch.Tensor:
        """Rows [wanted], ascending. Raises UserError where too few pass and ``shortfall`` is ``stop``."""
        probabilities = torch.where(scores >= self._at_least, self._keeps_right, self._keeps_wrong)
        chance = torch.from_numpy(stream.within("verifier").numpy().random(candidates))
        return _choice_of(chance < probabilities, wanted, stream, shortfall)


class Resample:
    """Draws candidates in proportion to a power of their scores (Drayson et al., arXiv 2502.15654).

    Places are drawn with replacement, each candidate at most ``most_repeats`` times. Scores are at least 0, such as the
    detector's 1 - c, c its confidence that a row is machine-made.
    """

    def __init__(self, exponent: float, most_repeats: int) -> None:
        self._exponent, self._most_repeats = exponent, most_repeats

    def __call__(self, candidates: int, wanted: int, *, scores: torch.Tensor, stream: Stream) -> torch.Tensor:
        """Rows [wanted], ascending. Raises UserError for negative scores, and where too few may be drawn."""
        if bool((scores < 0).any()):
            raise UserError(
                f"selection.rule: 'resample' draws in proportion to scores, and {float(scores.min()):g} is one of them;"
                " they must be at least 0 (selection/scorer=detector gives such)"
            )
        weights = scores.numpy() ** self._exponent
        possible = int((weights > 0).sum()) * self._most_repeats
        if possible < wanted:
            raise UserError(
                f"selection.rule: 'resample' may keep {possible} rows of {wanted} that are wanted; raise"
                " selection.rule.most_repeats or selection.oversampling, or lower selection.rule.exponent"
            )
        return torch.from_numpy(_drawn_at_most(weights, wanted, self._most_repeats, stream))


class Tournament:
    """Keeps one of every few candidates, by the Bradley-Terry model (Ferbach et al., arXiv 2407.09499).

    Place i is filled out of the candidates i, i + n, i + 2n, ... for n places, which continue one prompt: one of them
    with probability proportional to exp(score). What curation of this kind does to a distribution p is known: for two
    candidates p'(x) = 2 p(x) E_y[sigmoid(r(x) - r(y))].
    """

    def __init__(self, sharpness: float) -> None:
        self._sharpness = sharpness

    def __call__(self, candidates: int, wanted: int, *, scores: torch.Tensor, stream: Stream) -> torch.Tensor:
        """Rows [wanted], in the order of their places."""
        # The largest of scores and Gumbel noise is drawn with probabilities proportional to their exponentials.
        noise = torch.from_numpy(stream.numpy().gumbel(size=candidates))
        entrants = torch.full((-(-candidates // wanted) * wanted,), -torch.inf, dtype=torch.float64)
        entrants[:candidates] = self._sharpness * scores + noise
        rounds = entrants.view(-1, wanted).argmax(0)
        return rounds * wanted + torch.arange(wanted)


def _choice_of(passed: torch.Tensor, wanted: int, stream: Stream, shortfall: Shortfall) -> torch.Tensor:
    """``wanted`` of the rows that passed; where they are too few, each as often as is needed, or UserError."""
    rows = passed.nonzero().flatten().numpy()
    if len(rows) < wanted and (shortfall == "stop" or len(rows) == 0):
        raise UserError(
            f"selection.rule: {len(rows)} of {len(passed)} candidates pass, and {wanted} are wanted; raise"
            " selection.oversampling, lower selection.rule.at_least"
            + (", or keep rows more than once (selection.shortfall=repeat)" if len(rows) else "")
        )
    order = rows[np.argsort(random_keys(len(rows), stream), kind="stable")]
    return torch.from_numpy(np.sort(np.resize(order, wanted)))


def _drawn_at_most(weights: np.ndarray, wanted: int, most: int, stream: Stream) -> np.ndarray:
    """Places drawn one after the other in proportion to the weights, those of a row that is used up drawn again."""
    generator, found = stream.numpy(), np.zeros(len(weights), dtype=np.int64)
    left = weights.copy()
    while (missing := wanted - int(found.sum())) > 0:
        drawn = generator.choice(len(weights), missing, p=left / left.sum())
        found = np.minimum(found + np.bincount(drawn, minlength=len(weights)), most)
        left[found >= most] = 0.0
    return np.repeat(np.arange(len(weights)), found)
