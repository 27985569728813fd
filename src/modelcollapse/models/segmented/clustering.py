"""k-means for many independent data sets at once: where mixture models start from.

Letters in shapes: R replicates, N rows, d dimensions, K clusters, T candidates. All arrays are float64.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_ITERATIONS = 300
"""Of Lloyd's algorithm, as in scikit-learn."""
TOLERANCE = 1e-4
"""Lloyd's algorithm ends once the centres move by less, squared, in units of the data's mean variance; likewise."""


def seed_candidates(clusters: int) -> int:
    """Candidates that ``k_means_plus_plus`` tries for each seed: 2 + ln K, as in scikit-learn."""
    return 2 + int(math.log(clusters))


def k_means_plus_plus(columns: Array, row_weights: Array, uniforms: Array) -> Array:
    """K rows far from each other in each replicate, [R, K, d]: greedy k-means++ (Arthur & Vassilvitskii 2007).

    ``columns`` [R, 1 + d, N] hold 1 and the centred rows; ``row_weights`` is [N]. A row is drawn in proportion to its
    weight times the squared distance to the nearest seed so far, and of T candidates the one is taken that leaves the
    least sum of these. ``uniforms`` [R, K, T] from [0, 1) draw them; the first seed uses one only. Where fewer rows
    are distinct than K, rows repeat.
    """
    replicates = np.arange(len(columns))
    lengths = np.square(columns[:, 1:]).sum(axis=1, keepdims=True)
    seeds = _rows_at(columns, _drawn(np.broadcast_to(row_weights, lengths[:, 0].shape), uniforms[:, 0, :1]))
    nearest = _squared_distances(columns, lengths, seeds)[:, 0]
    for number in range(1, uniforms.shape[1]):
        candidates = _rows_at(columns, _drawn(nearest * row_weights, uniforms[:, number]))
        distances = np.minimum(nearest[:, None], _squared_distances(columns, lengths, candidates))
        best = (distances @ row_weights).argmin(axis=1)
        nearest = distances[replicates, best]
        seeds = np.concatenate([seeds, candidates[replicates, best][:, None]], axis=1)
    return seeds


def k_means(columns: Array, weighted: Array, seeds: Array) -> Array:
    """Membership of each row in the cluster of its nearest centre, [R, K, N], after Lloyd's algorithm from ``seeds``.

    ``columns`` [R, 1 + d, N] hold 1 and the centred rows, ``weighted`` the same times the rows' weights. Memberships
    are 1 and 0; a row equally near to several centres is shared out. The centre of a cluster that loses all rows stays
    where it is.
    """
    members = _members(_lloyd(columns, weighted, seeds), columns)
    return members / members.sum(axis=1, keepdims=True)


def _lloyd(columns: Array, weighted: Array, seeds: Array) -> Array:
    """Centres, [R, K, d]; a replicate whose centres rest leaves the batch, in company since the others are copied."""
    centres, places, moving = seeds.copy(), np.arange(len(seeds)), np.ones(len(seeds), dtype=bool)
    least_move = TOLERANCE * columns[:, 1:].var(axis=2).mean(axis=1)
    for _ in range(MAX_ITERATIONS):
        found = _means(centres[places], columns, weighted)
        moves = np.square(found - centres[places]).sum(axis=(1, 2))
        centres[places[moving]] = found[moving]
        moving &= moves > least_move[places]
        if not moving.any():
            break
        if 2 * moving.sum() <= len(moving):
            places, columns, weighted = places[moving], columns[moving], weighted[moving]
            moving = moving[moving]
    return centres


def _means(centres: Array, columns: Array, weighted: Array) -> Array:
    sums = _members(centres, columns) @ weighted.swapaxes(1, 2)
    sizes = sums[..., :1]
    return np.where(sizes > 0, sums[..., 1:] / np.where(sizes > 0, sizes, 1), centres)


def _members(centres: Array, columns: Array) -> Array:
    """1 where a centre is the nearest of a row, ties included: [R, K, N]."""
    lengths = np.square(centres).sum(axis=-1, keepdims=True)
    closeness = np.concatenate([-0.5 * lengths, centres], axis=-1) @ columns
    return (closeness == closeness.max(axis=1, keepdims=True)).astype(np.float64)


def _drawn(weights: Array, uniforms: Array) -> NDArray[np.int64]:
    """Numbers [R, T] of rows drawn in proportion to ``weights`` [R, N]."""
    cumulative = weights.cumsum(axis=1)
    points = uniforms * cumulative[:, -1:]
    found = [np.searchsorted(*pair, side="right") for pair in zip(cumulative, points, strict=True)]
    return np.minimum(found, weights.shape[1] - 1)


def _rows_at(columns: Array, numbers: NDArray[np.int64]) -> Array:
    return np.take_along_axis(columns[:, 1:], numbers[:, None], axis=2).swapaxes(1, 2)


def _squared_distances(columns: Array, lengths: Array, points: Array) -> Array:
    """[R, T, N], by the expanded square; ``lengths`` [R, 1, N] are those of the rows, squared."""
    shift = np.square(points).sum(axis=-1, keepdims=True)
    return np.maximum(np.concatenate([shift, -2 * points], axis=-1) @ columns + lengths, 0)
