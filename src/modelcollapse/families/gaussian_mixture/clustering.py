"""k-means for many independent data sets: the initialisation of mixture models.

Letters in shapes: R replicates, N rows, d dimensions, K clusters, T candidates. All arrays are float64.
"""

import math

import numpy as np
from numpy.typing import NDArray

from modelcollapse.compiled import compiled

Array = NDArray[np.float64]

MAX_ITERATIONS = 300
"""Of Lloyd's algorithm, as in scikit-learn."""
TOLERANCE = 1e-4
"""Lloyd's algorithm ends once the centres move by less, squared, in units of the data's mean variance; likewise."""


def seed_candidates(clusters: int) -> int:
    """Candidates that ``k_means_plus_plus`` tries for each seed: 2 + ln K, as in scikit-learn."""
    return 2 + int(math.log(clusters))


@compiled
def k_means_plus_plus(columns: Array, row_weights: Array, uniforms: Array) -> Array:
    """K rows far from each other in each replicate, [R, K, d]: greedy k-means++ (Arthur & Vassilvitskii 2007).

    ``columns`` [R, d, N] are the rows, ``row_weights`` [R, N] their weights. A row is drawn in proportion to its weight
    times the squared distance to the nearest seed so far, and of T candidates the one is taken that leaves the least
    sum of these. ``uniforms`` [R, K, T] from [0, 1) draw them; the first seed uses one only. Where fewer rows are
    distinct than K, rows repeat.
    """
    replicates, dimensions, rows = columns.shape
    clusters, candidates = uniforms.shape[1], uniforms.shape[2]
    seeds, cumulative = np.empty((replicates, clusters, dimensions)), np.empty(rows)
    nearest, trial, best = np.empty(rows), np.empty(rows), np.empty(rows)
    for r in range(replicates):
        _fill(nearest, 1.0)
        _accumulate(row_weights[r], nearest, cumulative)
        _fill(nearest, np.inf)
        _take_row(columns[r], _drawn(cumulative, uniforms[r, 0, 0]), seeds[r, 0])
        _approach(columns[r], seeds[r, 0], nearest, nearest)
        candidate = np.empty(dimensions)
        for k in range(1, clusters):
            _accumulate(row_weights[r], nearest, cumulative)
            least = np.inf
            for t in range(candidates):
                row = _drawn(cumulative, uniforms[r, k, t])
                _take_row(columns[r], row, candidate)
                _approach(columns[r], candidate, nearest, trial)
                left = _product(row_weights[r], trial)
                if left < least:
                    least = left
                    _take_row(columns[r], row, seeds[r, k])
                    best, trial = trial, best
            nearest, best = best, nearest
    return seeds


@compiled
def k_means(columns: Array, row_weights: Array, seeds: Array) -> tuple[Array, NDArray[np.int64]]:
    """Centres [R, K, d] and each row's nearest, [R, N], after Lloyd's algorithm from ``seeds``.

    ``columns`` [R, d, N] are the rows, ``row_weights`` [R, N] their weights. Of centres equally near, the first takes a
    row; the centre of a cluster that loses all rows stays where it is.
    """
    replicates, dimensions, rows = columns.shape
    centres, labels = seeds.copy(), np.zeros((replicates, rows), np.int64)
    nearest, distances = np.empty(rows), np.empty(rows)
    for r in range(replicates):
        least_move = 0.0
        for i in range(dimensions):
            least_move += TOLERANCE * _variance(columns[r, i]) / dimensions
        _label(columns[r], centres[r], nearest, distances, labels[r])
        for _ in range(MAX_ITERATIONS):
            move = _move(columns[r], row_weights[r], labels[r], centres[r])
            _label(columns[r], centres[r], nearest, distances, labels[r])
            if move <= least_move:
                break
    return centres, labels


@compiled
def _label(columns: Array, centres: Array, nearest: Array, distances: Array, labels: NDArray[np.int64]) -> None:
    """Write which centre is each row's nearest."""
    _fill(nearest, np.inf)
    for k in range(len(centres)):
        _fill(distances, np.inf)
        _approach(columns, centres[k], distances, distances)
        for n in range(len(labels)):
            labels[n] = k if distances[n] < nearest[n] else labels[n]
            nearest[n] = min(distances[n], nearest[n])


@compiled
def _move(columns: Array, row_weights: Array, labels: NDArray[np.int64], centres: Array) -> float:
    """Put every centre at the mean of its rows; gives the sum of the squared distances it took."""
    move = 0.0
    for k in range(len(centres)):
        size = 0.0
        for n in range(len(labels)):
            size += row_weights[n] if labels[n] == k else 0.0
        for i in range(len(columns)):
            column, centre, total = columns[i], centres[k, i], 0.0
            for n in range(len(labels)):
                total += row_weights[n] * (column[n] - centre) if labels[n] == k else 0.0
            step = total / size if size > 0 else 0.0
            centres[k, i] += step
            move += step * step
    return move


@compiled
def _approach(columns: Array, point: Array, before: Array, after: Array) -> None:
    """Write to ``after`` [N] the least of ``before`` and the squared distances of the rows from a point."""
    distances = np.zeros(len(after))
    for i in range(len(columns)):
        column, place = columns[i], point[i]
        for n in range(len(after)):
            distances[n] += (column[n] - place) ** 2
    for n in range(len(after)):
        after[n] = min(before[n], distances[n])


@compiled
def _drawn(cumulative: Array, uniform: float) -> int:
    """The number of the first row whose cumulative weight exceeds this share of all."""
    point, low, high = uniform * cumulative[-1], 0, len(cumulative) - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > point:
            high = middle
        else:
            low = middle + 1
    return low


@compiled
def _take_row(columns: Array, row: int, found: Array) -> None:
    for i in range(len(found)):
        found[i] = columns[i, row]


@compiled
def _fill(array: Array, value: float) -> None:
    for n in range(len(array)):
        array[n] = value


@compiled
def _accumulate(weights: Array, distances: Array, cumulative: Array) -> None:
    """Write the sums so far of weight times distance."""
    total = 0.0
    for n in range(len(cumulative)):
        total += weights[n] * distances[n]
        cumulative[n] = total


@compiled
def _product(left: Array, right: Array) -> float:
    total = 0.0
    for n in range(len(left)):
        total += left[n] * right[n]
    return total


@compiled
def _variance(column: Array) -> float:
    mean = 0.0
    for n in range(len(column)):
        mean += column[n] / len(column)
    variance = 0.0
    for n in range(len(column)):
        variance += (column[n] - mean) ** 2 / len(column)
    return variance
