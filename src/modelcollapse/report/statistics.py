"""Mean, spread and 95 % interval of the mean of a few independent numbers, for many places at once.

Of n values the mean is unbiased, the variance with n - 1 too; the standard deviation, its root, is biased low, by a
factor of c4(n) for normal values (0.80 at n = 2, 0.94 at n = 5).

The interval of the mean is Student's t with n - 1 degrees of freedom for n below :data:`BOOTSTRAP_FROM`: exact for
normal values, and for few values there is nothing better that assumes less. From there on it is the bias-corrected and
accelerated bootstrap (Efron 1987, BCa): :data:`RESAMPLES` resamples of a fixed stream, the same for all places, so that
equal values give equal intervals. One value has no interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOOTSTRAP_FROM = 15
"""Values from which on the interval is a bootstrap's."""
RESAMPLES = 2000
BOOTSTRAP_SEED = 20240724
LEVEL = 0.95
STUDENT, BOOTSTRAP, NONE = "Student's t", "BCa bootstrap", "none"
_CHUNK = 4_000_000


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
    """Lower end of the 95 % interval of the mean; NaN below n = 2."""
    high: np.ndarray
    """Upper end."""
    interval: np.ndarray
    """How the interval was made: STUDENT, BOOTSTRAP or NONE."""


def describe(values: np.ndarray) -> Description:
    """Statistics of the finite values along the last axis; those that are NaN or infinite are left out."""
    shape = values.shape[:-1]
    rows = values.reshape(-1, values.shape[-1]).astype(float)
    finite = np.isfinite(rows)
    n = finite.sum(axis=1)
    mean = np.divide(np.where(finite, rows, 0).sum(axis=1), n, out=np.full(len(rows), np.nan), where=n > 0)
    deviations = np.where(finite, rows - mean[:, None], 0)
    deviation = _deviation((deviations**2).sum(axis=1), n)
    half = student_half_width(deviation, n)
    low, high = mean - half, mean + half
    interval = np.where(n >= 2, STUDENT, NONE).astype(object)
    many = n >= BOOTSTRAP_FROM
    for mask in np.unique(finite[many], axis=0) if many.any() else ():
        places = many & (finite == mask).all(axis=1)
        low[places], high[places] = bootstrap(rows[places][:, mask])
        interval[places] = BOOTSTRAP
    parts = (n, mean, deviation, low, high, interval)
    return Description(*(part.reshape(shape) for part in parts))


def pool(means: np.ndarray, deviations: np.ndarray, replicates: int) -> Description:
    """Statistics of all replicates of all chains together, from each chain's mean and standard deviation of its own.

    The chains' replicates are independent of each other within and between chains, so they make one sample of
    n = chains x replicates. A bootstrap needs the values themselves, so that the interval is Student's for every n.
    Chains whose mean or deviation is NaN or infinite are left out with all their replicates.

    Args:
        means: [..., C] for C chains.
        deviations: The same shape, with n - 1.
        replicates: Of each chain.
    """
    whole = np.isfinite(means) & np.isfinite(deviations)
    chains = whole.sum(axis=-1)
    n = chains * replicates
    mean = np.divide(
        np.where(whole, means, 0).sum(axis=-1), chains, out=np.full(chains.shape, np.nan), where=chains > 0
    )
    within = np.where(whole, deviations, 0) ** 2 * (replicates - 1)
    between = np.where(whole, means - mean[..., None], 0) ** 2 * replicates
    deviation = _deviation((within + between).sum(axis=-1), n)
    half = student_half_width(deviation, n)
    interval = np.where(n >= 2, STUDENT, NONE).astype(object)
    return Description(n, mean, deviation, mean - half, mean + half, interval)


def student_half_width(deviation: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Half the width of Student's interval of a mean; NaN below n = 2."""
    from scipy.stats import t

    counted = np.maximum(n, 2)
    width = t.ppf((1 + LEVEL) / 2, counted - 1) * deviation / np.sqrt(counted)
    return np.where(n >= 2, width, np.nan)


def bootstrap(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the BCa interval of each row's mean; [R, n] finite values, n at least 2.

    Where all values are equal both ends are that value.
    """
    n = rows.shape[1]
    weights = np.random.default_rng(BOOTSTRAP_SEED).multinomial(n, np.full(n, 1 / n), RESAMPLES).T / n
    ends = np.empty((2, len(rows)))
    size = max(1, _CHUNK // RESAMPLES)
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        mean = part.mean(axis=1, keepdims=True)
        deviations = part - mean
        ends[:, first : first + size] = mean[:, 0] + _accelerated(deviations, np.sort(deviations @ weights, axis=1))
    return ends[0], ends[1]


def _accelerated(deviations: np.ndarray, resampled: np.ndarray) -> np.ndarray:
    """[2, R]: the quantiles that BCa chooses of sorted resampled means; all less the mean of the row."""
    from scipy.special import ndtr, ndtri

    # A resample whose mean is that of the row counts half; rounding must not decide on which side it lies.
    largest = np.abs(deviations).max(axis=1, keepdims=True)
    tie = 1e-9 * largest
    below = (resampled < -tie).mean(axis=1) + (np.abs(resampled) <= tie).mean(axis=1) / 2
    least = 1 / (2 * RESAMPLES)
    bias = ndtri(np.clip(below, least, 1 - least))
    # In units of the largest: powers of tiny deviations would be zero.
    relative = deviations / np.where(largest > 0, largest, 1)
    differs = largest[:, 0] > 0
    squares = np.where(differs, (relative**2).sum(axis=1), 1)
    acceleration = (relative**3).sum(axis=1) / (6 * squares**1.5)
    ends = []
    for level in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        moved = bias + ndtri(level)
        chosen = ndtr(bias + moved / (1 - acceleration * moved))
        place = chosen * (RESAMPLES - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, RESAMPLES - 1)
        picked = [np.take_along_axis(resampled, where[:, None], axis=1)[:, 0] for where in (low, high)]
        ends.append(picked[0] + (place - low) * (picked[1] - picked[0]))
    return np.where(differs, np.stack(ends), 0.0)


def _deviation(squares: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.sqrt(np.divide(squares, n - 1, out=np.full(squares.shape, np.nan), where=n > 1))
