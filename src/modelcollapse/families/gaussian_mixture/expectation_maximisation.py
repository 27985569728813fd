"""Maximum likelihood of Gaussian mixtures, for many independent data sets, step by step as scikit-learn's.

Compiled: a whole fit is one call, whose loops over the rows hold nothing but additions, products and one exponential
less than there are components. Rows are worked on in blocks that stay in the fastest cache between the steps.

Letters in shapes: R replicates, N rows, d dimensions, K components. All arrays are float64.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelcollapse.compiled import compiled, plain
from modelcollapse.families.gaussian_mixture.clustering import k_means, k_means_plus_plus
from modelcollapse.families.gaussian_mixture.distances import Array, Mixtures
from modelcollapse.families.gaussian_mixture.kernels import (
    BLOCK,
    exponentiate,
    logarithm,
    weighted_log_densities,
    whiten,
)

CovarianceShape = Literal["full", "diag", "spherical"]

EMPTY = 10 * float(np.finfo(np.float64).eps)
"""Rows added to every component so that none is empty, as in scikit-learn."""
FOLDS = 4
"""Times that the factors of a likelihood are multiplied in pairs, before their logarithm is taken."""


class CollapsedComponentError(ValueError):
    """A covariance is not positive definite in double precision, so its component has no density."""

    def __init__(self, replicates: int) -> None:
        super().__init__(
            "the covariance of a component is not positive definite, as where it collapsed onto too few rows, in"
            f" {replicates} replicates; raise model.covariance_floor or lower model.components"
        )


@dataclass(frozen=True)
class MixtureFits:
    """Fitted mixtures, and how their fits went."""

    mixtures: Mixtures
    """What the last M step gave."""
    log_likelihood: Array
    """[R], nats a row, of the parameters before that step: scikit-learn's ``lower_bound_``."""
    iterations: NDArray[np.int64]
    """[R], pairs of E and M step."""
    converged: NDArray[np.bool_]
    """[R], whether the last change of the log-likelihood was below the tolerance."""


class Rows(NamedTuple):
    """What a batch of replicates is fitted to."""

    columns: Array
    """[R, d, N]."""
    weights: Array
    """[R, N], of mean 1: how many rows a row counts for."""

    @classmethod
    def of(cls, data: Array, row_weights: Array | None) -> "Rows":
        """The rows ``data`` [R, N, d]; ``row_weights`` are [N] or [R, N], without them all count for one."""
        weights = np.ones(data.shape[1]) if row_weights is None else row_weights
        return cls(plain(data.swapaxes(1, 2)), plain(np.broadcast_to(weights, data.shape[:2])))


@dataclass(frozen=True)
class ExpectationMaximisation:
    """EM with the rules of scikit-learn 1.9's ``GaussianMixture``."""

    shape: CovarianceShape
    """What covariances may be."""
    tolerance: float
    """A replicate has converged once its log-likelihood changes by less, nats a row; ``tol``."""
    max_iterations: int
    """Pairs of E and M step at most; ``max_iter``."""
    covariance_floor: float
    """Added to the diagonal of every covariance, in squared units of the data; ``reg_covar``."""

    def start_from_rows(self, rows: Rows, uniforms: Array) -> Mixtures:
        """Each component on one row alone, the rows chosen by k-means++: scikit-learn's ``init_params="k-means++"``.

        The first E step then divides the rows among the nearest of these. ``uniforms`` [R, K, T] are those of
        ``clustering.k_means_plus_plus``.
        """
        means = k_means_plus_plus(rows.columns, rows.weights, uniforms)
        floor = self.covariance_floor * np.eye(means.shape[-1])
        weights = np.full(means.shape[:-1], 1 / rows.weights.shape[1])
        return Mixtures(weights, means, np.tile(floor, (*weights.shape, 1, 1)))

    def start_from_clusters(self, rows: Rows, uniforms: Array) -> Mixtures:
        """Each component on a cluster found by k-means: scikit-learn's default, ``init_params="kmeans"``."""
        seeds = k_means_plus_plus(rows.columns, rows.weights, uniforms)
        centres, labels = k_means(rows.columns, rows.weights, seeds)
        full, spherical, floor = self.shape == "full", self.shape == "spherical", float(self.covariance_floor)
        return Mixtures(*_of_clusters(rows.columns, rows.weights, centres, labels, full, spherical, floor))

    def fit(self, rows: Rows, start: Mixtures) -> MixtureFits:
        """Fit each replicate from where ``start`` has it.

        Raises CollapsedComponentError where scikit-learn raises, and where the deviation of a component is but
        rounding of its mean.
        """
        weights, means, covariances = (part.copy() for part in start)
        log_likelihood, iterations, converged = _fitted(
            *rows,
            weights,
            means,
            covariances,
            self.shape == "full",
            self.shape == "spherical",
            float(self.covariance_floor),
            float(self.tolerance),
            self.max_iterations,
        )
        if lost := int((iterations == 0).sum()):
            raise CollapsedComponentError(lost)
        return MixtureFits(Mixtures(weights, means, covariances), log_likelihood, iterations, converged)


@compiled
def _fitted(
    columns: Array,
    row_weights: Array,
    weights: Array,
    means: Array,
    covariances: Array,
    full: bool,
    spherical: bool,
    floor: float,
    tolerance: float,
    max_iterations: int,
) -> tuple[Array, NDArray[np.int64], NDArray[np.bool_]]:
    """Fit every replicate, overwriting the mixtures; one that collapsed has 0 iterations."""
    replicates, dimensions, rows = columns.shape
    components = weights.shape[1]
    log_likelihood = np.empty(replicates)
    iterations, converged = np.zeros(replicates, np.int64), np.zeros(replicates, np.bool_)
    responsibilities = np.empty((components, rows))
    whitening, constants = np.zeros((components, dimensions, dimensions)), np.empty(components)
    for r in range(replicates):
        mixture = weights[r], means[r], covariances[r]
        sound = whiten(*mixture, whitening, constants)
        iteration, after = 0, -np.inf
        while sound and iteration < max_iterations and not converged[r]:
            iteration += 1
            before = after
            after = _expect(columns[r], row_weights[r], means[r], whitening, constants, responsibilities)
            _maximise(columns[r], responsibilities, *mixture, full, spherical, floor)
            sound = whiten(*mixture, whitening, constants)
            converged[r] = abs(after - before) < tolerance
        log_likelihood[r] = after
        iterations[r] = iteration if sound else 0
    return log_likelihood, iterations, converged


@compiled
def _of_clusters(
    columns: Array,
    row_weights: Array,
    centres: Array,
    labels: NDArray[np.int64],
    full: bool,
    spherical: bool,
    floor: float,
) -> tuple[Array, Array, Array]:
    """Weights, means and covariances of the clusters, by an M step; ``centres`` become the means."""
    replicates, components, dimensions = centres.shape
    weights = np.empty((replicates, components))
    covariances = np.zeros((replicates, components, dimensions, dimensions))
    memberships = np.empty((components, row_weights.shape[1]))
    for r in range(replicates):
        for k in range(components):
            for n in range(row_weights.shape[1]):
                memberships[k, n] = row_weights[r, n] if labels[r, n] == k else 0.0
        _maximise(columns[r], memberships, weights[r], centres[r], covariances[r], full, spherical, floor)
    return weights, centres, covariances


@compiled
def _expect(
    columns: Array, row_weights: Array, means: Array, whitening: Array, constants: Array, responsibilities: Array
) -> float:
    """The E step: writes the responsibilities [K, N], each row's times its weight; gives the log-likelihood a row."""
    components, rows = responsibilities.shape
    white, largest, totals = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    log_likelihood = 0.0
    for first in range(0, rows, BLOCK):
        block = slice(first, min(first + BLOCK, rows))
        row_weight = row_weights[block]
        weighted_log_densities(columns, block, means, whitening, constants, white, responsibilities)
        exponentiate(responsibilities, block, largest, totals)
        for n in range(len(row_weight)):
            white[n] = row_weight[n] / totals[n]
        for k in range(components):
            responsibility = responsibilities[k, block]
            for n in range(len(row_weight)):
                responsibility[n] *= white[n]
        log_likelihood += _log_of_product(largest, totals, row_weight)
    return log_likelihood / rows


@compiled
def _log_of_product(largest: Array, totals: Array, row_weights: Array) -> float:
    """Sum of weight * (largest + ln totals) over a block; uses up ``totals``.

    Rows of one weight are multiplied before the logarithm is taken: the totals lie between 1 and K.
    """
    rows = len(row_weights)
    found, equal = 0.0, True
    for n in range(rows):
        found += row_weights[n] * largest[n]
        equal &= row_weights[n] == row_weights[0]
    if equal:
        for _ in range(FOLDS):
            half = (rows + 1) // 2
            for n in range(rows - half):
                totals[n] *= totals[half + n]
            rows = half
    for n in range(rows):
        found += row_weights[n] * logarithm(totals[n])
    return found


@compiled
def _maximise(
    columns: Array,
    responsibilities: Array,
    weights: Array,
    means: Array,
    covariances: Array,
    full: bool,
    spherical: bool,
    floor: float,
) -> None:
    """The M step: overwrites the mixture.

    The rows that ``EMPTY`` adds lie at the origin: an empty component ends up there, as in scikit-learn. Second moments
    are taken about the new means, so that no digits are lost where a mean is far from the origin compared to a spread.
    """
    dimensions, rows = columns.shape
    for k in range(len(weights)):
        responsibility = responsibilities[k]
        size = EMPTY
        for n in range(rows):
            size += responsibility[n]
        weights[k] = size / rows
        for i in range(dimensions):
            step = _first_moment(responsibility, columns[i], means[k, i])
            means[k, i] += (step - EMPTY * means[k, i]) / size
        for i in range(dimensions):
            for j in range(0 if full else i, i + 1):
                moment = _second_moment(responsibility, columns[i], means[k, i], columns[j], means[k, j])
                covariances[k, i, j] = covariances[k, j, i] = moment / size
            covariances[k, i, i] += floor
        if spherical:
            variance = 0.0
            for i in range(dimensions):
                variance += covariances[k, i, i] / dimensions
            for i in range(dimensions):
                covariances[k, i, i] = variance


@compiled
def _first_moment(responsibility: Array, column: Array, mean: float) -> float:
    moment = 0.0
    for n in range(len(column)):
        moment += responsibility[n] * (column[n] - mean)
    return moment


@compiled
def _second_moment(responsibility: Array, left: Array, left_mean: float, right: Array, right_mean: float) -> float:
    moment = 0.0
    for n in range(len(left)):
        moment += responsibility[n] * (left[n] - left_mean) * (right[n] - right_mean)
    return moment
