"""The built-in rules: which of the candidates are kept, given a score for each.

A rule is called with the number of candidates, the number of rows wanted, and by keyword what its registration says
that it needs: ``scores`` [candidates] float64, higher is better, ``stream``, of which it draws what is random, and
``shortfall``, what happens where too few pass. It returns the numbers of exactly the rows wanted, where a row may stand
twice, or a pair of these and their weights.

A rule may also have a method ``of_replicates``, which chooses in R independent sets at once: instead of the number of
candidates it is given [R, candidates] as a pair, scores are [R, candidates], and it returns rows [R, wanted]. A rule
without one is called once for each replicate.
"""

from typing import Any

import numpy as np
import torch

from modelcollapse.errors import UserError
from modelcollapse.regimes.rows import random_keys
from modelcollapse.seeding import Stream
from modelcollapse.selections.settings import Shortfall

Size = tuple[int, int]
"""R replicates, and the candidates of each."""


class _Replicated:
    """A rule that chooses in many replicates at once, of which a set by itself is one."""

    of_replicates: Any

    def __call__(self, candidates: int, wanted: int, **given: Any) -> torch.Tensor:
        """Rows [wanted] of one set of candidates; ``scores`` are [candidates]."""
        if "scores" in given:
            given["scores"] = given["scores"][None]
        chosen: torch.Tensor = self.of_replicates((1, candidates), wanted, **given)
        return chosen[0]


class Random(_Replicated):
    """Keeps a random choice without replacement: the control for selections by content."""

    def of_replicates(self, size: Size, wanted: int, *, stream: Stream) -> torch.Tensor:
        """Rows [R, wanted], ascending; every choice is equally likely."""
        chosen = np.argsort(random_keys(size[0] * size[1], stream).reshape(size), axis=1, kind="stable")[:, :wanted]
        return torch.from_numpy(np.sort(chosen, axis=1))


class Top(_Replicated):
    """Keeps the candidates with the highest scores; of equal ones those that were generated first."""

    def of_replicates(self, size: Size, wanted: int, *, scores: torch.Tensor) -> torch.Tensor:
        """Rows [R, wanted], ascending."""
        best_first = torch.argsort(scores, dim=1, descending=True, stable=True)
        return best_first[:, :wanted].sort(dim=1).values


class Threshold(_Replicated):
    """Keeps a random choice, without replacement, of the candidates whose score is high enough."""

    def __init__(self, at_least: float) -> None:
        self._at_least = at_least

    def of_replicates(
        self, size: Size, wanted: int, *, scores: torch.Tensor, stream: Stream, shortfall: Shortfall
    ) -> torch.Tensor:
        """Rows [R, wanted], ascending. Raises UserError where too few pass and ``shortfall`` is ``stop``."""
        return _choice_of(scores >= self._at_least, wanted, stream, shortfall)


class Verifier(_Replicated):
    """Keeps a random choice of what an imperfect verifier passes (Feng et al., arXiv 2406.07515).

    A candidate is right where its score is at least ``at_least``. It passes with probability ``keeps_right`` (phi)
    where it is, with ``keeps_wrong`` (psi) where it is not. A classifier fitted to labels of which a share p is wrong
    succeeds after it for p below 1 / (1 + psi / phi).
    """

    def __init__(self, at_least: float, keeps_right: float, keeps_wrong: float) -> None:
        self._at_least, self._keeps_right, self._keeps_wrong = at_least, keeps_right, keeps_wrong

    def of_replicates(
        self, size: Size, wanted: int, *, scores: torch.Tensor, stream: Stream, shortfall: Shortfall
    ) -> torch.Tensor:
        """Rows [R, wanted], ascending. Raises UserError where too few pass and ``shortfall`` is ``stop``."""
        probabilities = torch.where(scores >= self._at_least, self._keeps_right, self._keeps_wrong)
        chance = torch.from_numpy(stream.within("verifier").numpy().random(size))
        return _choice_of(chance < probabilities, wanted, stream, shortfall)


class Resample(_Replicated):
    """Draws candidates in proportion to a power of their scores (Drayson et al., arXiv 2502.15654).

    Places are drawn with replacement, each candidate at most ``most_repeats`` times. Scores are at least 0, such as the
    detector's 1 - c, c its confidence that a row is machine-made.
    """

    def __init__(self, exponent: float, most_repeats: int) -> None:
        self._exponent, self._most_repeats = exponent, most_repeats

    def of_replicates(self, size: Size, wanted: int, *, scores: torch.Tensor, stream: Stream) -> torch.Tensor:
        """Rows [R, wanted], ascending. Raises UserError for negative scores, and where too few may be drawn."""
        if bool((scores < 0).any()):
            raise UserError(
                f"selection.rule: 'resample' draws in proportion to scores, and {float(scores.min()):g} is one of them;"
                " they must be at least 0 (selection/scorer=detector gives such)"
            )
        weights = scores.numpy() ** self._exponent
        possible = int((weights > 0).sum(1).min()) * self._most_repeats
        if possible < wanted:
            raise UserError(
                f"selection.rule: 'resample' may keep {possible} rows of {wanted} that are wanted; raise"
                " selection.rule.most_repeats or selection.oversampling, or lower selection.rule.exponent"
                " (or selection.size, of a training set)"
            )
        generator = stream.numpy()
        drawn = [_drawn_at_most(each, wanted, self._most_repeats, generator) for each in weights]
        return torch.from_numpy(np.stack(drawn))


class Tournament(_Replicated):
    """Keeps one of every few candidates, by the Bradley-Terry model (Ferbach et al., arXiv 2407.09499).

    Place i is filled out of the candidates i, i + n, i + 2n, ... for n places, which continue one prompt: one of them
    with probability proportional to exp(score). What curation of this kind does to a distribution p is known: for two
    candidates p'(x) = 2 p(x) E_y[sigmoid(r(x) - r(y))].
    """

    def __init__(self, sharpness: float) -> None:
        self._sharpness = sharpness

    def of_replicates(self, size: Size, wanted: int, *, scores: torch.Tensor, stream: Stream) -> torch.Tensor:
        """Rows [R, wanted], in the order of their places."""
        # The largest of scores and Gumbel noise is drawn with probabilities proportional to their exponentials.
        noise = torch.from_numpy(stream.numpy().gumbel(size=size))
        replicates, candidates = size
        entrants = torch.full((replicates, -(-candidates // wanted) * wanted), -torch.inf, dtype=torch.float64)
        entrants[:, :candidates] = self._sharpness * scores + noise
        rounds = entrants.view(replicates, -1, wanted).argmax(1)
        return rounds * wanted + torch.arange(wanted)


def _choice_of(passed: torch.Tensor, wanted: int, stream: Stream, shortfall: Shortfall) -> torch.Tensor:
    """``wanted`` of the rows that passed [R, candidates]; of too few each as often as is needed, or UserError."""
    has_passed = passed.numpy()
    counts = has_passed.sum(1)
    fewest = int(counts.min())
    if fewest < wanted and (shortfall == "stop" or fewest == 0):
        raise UserError(
            f"selection.rule: {fewest} of {passed.shape[1]} candidates pass, and {wanted} are wanted; raise"
            " selection.oversampling, lower selection.rule.at_least"
            + (", or keep rows more than once (selection.shortfall=repeat)" if fewest else "")
        )
    keys = np.full(has_passed.shape, np.iinfo(np.uint64).max, dtype=np.uint64)
    keys[has_passed] = random_keys(int(counts.sum()), stream)
    order = np.argsort(keys, axis=1, kind="stable")
    chosen = np.take_along_axis(order, np.arange(wanted) % counts[:, None], axis=1)
    return torch.from_numpy(np.sort(chosen, axis=1))


def _drawn_at_most(weights: np.ndarray, wanted: int, most: int, generator: np.random.Generator) -> np.ndarray:
    """Places drawn one after the other in proportion to the weights, those of a row that is used up drawn again."""
    found, left = np.zeros(len(weights), dtype=np.int64), weights.copy()
    while (missing := wanted - int(found.sum())) > 0:
        drawn = generator.choice(len(weights), missing, p=left / left.sum())
        found = np.minimum(found + np.bincount(drawn, minlength=len(weights)), most)
        left[found >= most] = 0.0
    return np.repeat(np.arange(len(weights)), found)
