"""Mean, spread and 95 % interval of the mean of a few independent numbers, for many places at once.

Of n values the mean is unbiased, the variance with n - 1 too; the standard deviation, its root, is biased low, by a
factor of c4(n) for normal values (0.80 at n = 2, 0.94 at n = 5).

The interval of the mean is Student's t with n - 1 degrees of freedom, exact for normal values. Where the values have a
smallest or a largest possible value, such as shares or perplexities, it is taken on the scale of a logarithm or a logit
and transformed back (the delta method; van der Vaart 1998, chapter 3), so that it never leaves the possible range; far
from the bounds both are the same. Below n = :data:`FEWEST` there is no interval: the values themselves say more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEWEST = 5
"""Values from which on there is an interval."""
LEVEL = 0.95
STUDENT, TRANSFORMED, NONE = "Student's t", "Student's t, transformed", "none"
UNBOUNDED = (-np.inf, np.inf)


@dataclass(frozen=True)
class Description:
    """Statistics over the last axis of an array, each of the shape before it."""

    n: np.ndarray
    """Finite values; all else is of these."""
    mean: np.ndarray
    """NaN where n = 0."""
    standard_deviation: np.ndarray
    """With n - 1; NaN below n = 2."""
    low: np.ndarray
    """Lower end of the 95 % interval of the mean; NaN below n = FEWEST."""
    high: np.ndarray
    """Upper end."""
    interval: np.ndarray
    """How the interval was made: STUDENT, TRANSFORMED or NONE."""


def describe(values: np.ndarray, possible: np.ndarray | tuple[float, float] = UNBOUNDED) -> Description:
    """Statistics of the finite values along the last axis; those that are NaN or infinite are left out.

    Args:
        values: [..., n].
        possible: The smallest and the largest possible value, [..., 2], of the shape before the last axis or
            broadcast to it; infinite where there is none.
    """
    finite = np.isfinite(values)
    n = finite.sum(axis=-1)
    numbers = np.where(finite, values, 0.0)
    mean = np.divide(numbers.sum(axis=-1), n, out=np.full(n.shape, np.nan), where=n > 0)
    squares = (np.where(finite, numbers - mean[..., None], 0) ** 2).sum(axis=-1)
    return _described(n, mean, _deviation(squares, n), possible)


def pool(
    means: np.ndarray,
    deviations: np.ndarray,
    replicates: int,
    possible: np.ndarray | tuple[float, float] = UNBOUNDED,
) -> Description:
    """Statistics of all replicates of all chains together, from each chain's mean and standard deviation of its own.

    The chains' replicates are independent of each other within and between chains, so they make one sample of
    n = chains x replicates. Chains whose mean or deviation is NaN or infinite are left out with all their replicates.

    Args:
        means: [..., C] for C chains.
        deviations: The same shape, with n - 1.
        replicates: Of each chain.
        possible: As in :func:`describe`.
    """
    whole = np.isfinite(means) & np.isfinite(deviations)
    chains = whole.sum(axis=-1)
    n = chains * replicates
    mean = np.divide(
        np.where(whole, means, 0).sum(axis=-1), chains, out=np.full(chains.shape, np.nan), where=chains > 0
    )
    within = np.where(whole, deviations, 0) ** 2 * (replicates - 1)
    between = np.where(whole, means - mean[..., None], 0) ** 2 * replicates
    return _described(n, mean, _deviation((within + between).sum(axis=-1), n), possible)


def student_interval(
    mean: np.ndarray, deviation: np.ndarray, n: np.ndarray, possible: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval of a mean; NaN below n = FEWEST.

    With one bound a the logarithm of |mean - a| is taken, with two the logit of (mean - a) / (b - a); none where the
    mean is on a bound or beyond it.

    Args:
        mean: [...], as ``deviation`` and ``n``.
        deviation: Standard deviation of the values.
        n: How many.
        possible: [..., 2], see :func:`describe`.
    """
    # Student's quantiles alone: all of scipy.stats takes 60 MB.
    from scipy.special import stdtrit

    counted = np.maximum(n, 2)
    half = stdtrit(counted - 1, (1 + LEVEL) / 2) * deviation / np.sqrt(counted)
    bottom, top = possible[..., 0], possible[..., 1]
    is_inside = (bottom < mean) & (mean < top)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.select(
            [~is_inside, np.isfinite(bottom) & np.isfinite(top), np.isfinite(bottom), np.isfinite(top)],
            [
                np.stack([mean - half, mean + half]),
                _logit_ends(mean, half, bottom, top),
                _logarithm_ends(mean, half, bottom),
                -_logarithm_ends(-mean, half, -top)[::-1],
            ],
            np.stack([mean - half, mean + half]),
        )
    return np.where(n >= FEWEST, low, np.nan), np.where(n >= FEWEST, high, np.nan)


def _logarithm_ends(mean: np.ndarray, half: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """[2, ...]: both ends, of half the width ``half`` / (mean - bottom) on the scale of log(mean - bottom)."""
    above = mean - bottom
    return np.stack([bottom + above * np.exp(-half / above), bottom + above * np.exp(half / above)])


def _logit_ends(mean: np.ndarray, half: np.ndarray, bottom: np.ndarray, top: np.ndarray) -> np.ndarray:
    """[2, ...]: both ends, on the scale of the logit of the place between the bounds."""
    from scipy.special import expit, logit

    room = top - bottom
    place, width = logit((mean - bottom) / room), half * room / ((mean - bottom) * (top - mean))
    return np.stack([bottom + room * expit(place - width), bottom + room * expit(place + width)])


def _described(
    n: np.ndarray, mean: np.ndarray, deviation: np.ndarray, possible: np.ndarray | tuple[float, float]
) -> Description:
    bounds = np.broadcast_to(np.asarray(possible, dtype=float), (*mean.shape, 2))
    low, high = student_interval(mean, deviation, n, bounds)
    kind = np.where(np.isfinite(bounds).any(axis=-1), TRANSFORMED, STUDENT).astype(object)
    return Description(n, mean, deviation, low, high, np.where(n >= FEWEST, kind, NONE).astype(object))


def _deviation(squares: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.sqrt(np.divide(squares, n - 1, out=np.full(squares.shape, np.nan), where=n > 1))
