"""Maximum likelihood of Gaussian mixtures, for many independent data sets at once, step by step as scikit-learn's.

A component's logarithmic density is linear in the features [1, x_i, x_i x_j] of a row x. The E step is then one matrix
product, coefficients times features, and the M step another, responsibilities times features, for all replicates in one
batch; replicates that have converged leave it. Rows are centred first: the expanded squares would lose digits where
means are far from the origin compared to spreads.

NumPy and not PyTorch: on these small arrays its calls cost a third and its exponential half as much.

Letters in shapes: R replicates, N rows, d dimensions, K components, F features, P products x_i x_j among them. All
arrays are float64.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from modelcollapse.metrics.gaussian_mixture import Array, Mixtures
from modelcollapse.models.segmented.clustering import k_means, k_means_plus_plus

CovarianceShape = Literal["full", "diag", "spherical"]

EMPTY = 10 * float(np.finfo(np.float64).eps)
"""Rows added to every component so that none is empty, as in scikit-learn."""
ROUNDING = 100 * float(np.finfo(np.float64).eps)
"""What is left of the square of a mean when two equal ones are subtracted, at most."""


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

    def rows(self, data: Array, row_weights: Array | None) -> "Rows":
        """What a fit sees of ``data`` [R, N, d].

        ``row_weights`` [N], of mean 1, say how many rows a row counts for; None lets all count for one.
        """
        layout = _Layout.of(self.shape, data.shape[-1], self.covariance_floor)
        return Rows.of(data, row_weights, layout)

    def start_from_rows(self, rows: "Rows", uniforms: Array) -> Mixtures:
        """Each component on one row alone, the rows chosen by k-means++: scikit-learn's ``init_params="k-means++"``.

        The first E step then divides the rows among the nearest of these. ``uniforms`` [R, K, T] are those of
        ``clustering.k_means_plus_plus``.
        """
        means = k_means_plus_plus(rows.columns, rows.shares, uniforms) + rows.centre
        floor = rows.layout.floor.reshape(means.shape[-1], -1)
        weights = np.full(means.shape[:-1], 1 / len(rows.shares))
        return Mixtures(weights, means, np.broadcast_to(floor, (*weights.shape, *floor.shape)))

    def start_from_clusters(self, rows: "Rows", uniforms: Array) -> Mixtures:
        """Each component on a cluster found by k-means: scikit-learn's default, ``init_params="kmeans"``."""
        seeds = k_means_plus_plus(rows.columns, rows.shares, uniforms)
        return _maximise(k_means(rows.columns, rows.weighted_columns, seeds), rows).shifted(rows.centre)

    def fit(self, rows: "Rows", start: Mixtures) -> MixtureFits:
        """Fit each replicate from where ``start`` has it; uses up ``rows``, which are overwritten.

        Raises CollapsedComponentError where scikit-learn raises, and where a component is narrower than 1.5e-7
        times its distance from the centre of the rows: its covariance would be rounding alone.
        """
        batch = _Batch(rows, start)
        for iteration in range(1, self.max_iterations + 1):
            converged = batch.step() < self.tolerance
            leaving = converged if iteration < self.max_iterations else np.ones_like(converged)
            if leaving.any():
                batch.leave(leaving, converged, iteration)
                if not len(batch.places):
                    break
        return batch.fits


@dataclass(frozen=True)
class _Layout:
    """Which products of a row are features, and how they and covariance matrices make each other."""

    first: NDArray[np.int64]
    """[P], i of each product x_i x_j."""
    second: NDArray[np.int64]
    """[P], j of each product x_i x_j."""
    spread: Array
    """[P, d * d]: central second moments times this are the entries of the covariance."""
    collect: Array
    """[d * d, P]: entries of the precision times this are the coefficients of the products."""
    floor: Array
    """[d * d], what is added to the entries of a covariance."""
    features: int
    """F."""

    @classmethod
    def of(cls, shape: CovarianceShape, dimensions: int, floor: float) -> "_Layout":
        identity = np.eye(dimensions)
        numbers = np.arange(dimensions)
        first, second = np.triu_indices(dimensions) if shape == "full" else (numbers, numbers)
        products = identity[first][:, :, None] * identity[second][:, None, :]
        entries = np.maximum(products, products.swapaxes(1, 2)).reshape(len(first), -1)
        mean_variance = np.tile(identity.reshape(-1) / dimensions, (dimensions, 1))
        spread = mean_variance if shape == "spherical" else entries
        count = 1 + dimensions + len(first)
        return cls(first, second, spread, -0.5 * entries.T, floor * identity.reshape(-1), count)


@dataclass(frozen=True)
class Rows:
    """The rows of a batch of replicates as features."""

    layout: _Layout
    centre: Array
    """[R, 1, d], what was subtracted from the rows."""
    features: Array
    """[R, F, N]."""
    weighted: Array
    """[R, F, N], each row times its weight."""
    shares: Array
    """[N], weights of the rows, of sum 1."""

    @classmethod
    def of(cls, data: Array, row_weights: Array | None, layout: _Layout) -> "Rows":
        """Features of ``data`` [R, N, d]."""
        replicates, rows, dimensions = data.shape
        features = np.empty((replicates, layout.features, rows))
        features[:, 0] = 1
        columns = features[:, 1 : 1 + dimensions]
        columns[:] = data.swapaxes(1, 2)
        centre = columns.mean(axis=2, keepdims=True)
        columns -= centre
        for place, (first, second) in enumerate(zip(layout.first, layout.second, strict=True), start=1 + dimensions):
            np.multiply(columns[:, first], columns[:, second], out=features[:, place])
        if row_weights is None:
            return cls(layout, centre.swapaxes(1, 2), features, features, np.full(rows, 1 / rows))
        return cls(layout, centre.swapaxes(1, 2), features, features * row_weights, row_weights / rows)

    @property
    def columns(self) -> Array:
        """[R, 1 + d, N]: 1, and the centred rows."""
        return self.features[:, : 1 + self.centre.shape[-1]]

    @property
    def weighted_columns(self) -> Array:
        """``columns``, each row times its weight."""
        return self.weighted[:, : 1 + self.centre.shape[-1]]

    def keep(self, order: NDArray[np.int64]) -> "Rows":
        """The rows of some replicates, in an order that moves few of them; these overwrite others here."""
        moved = np.flatnonzero(order != np.arange(len(order)))
        for array in {id(array): array for array in (self.features, self.weighted)}.values():
            array[moved] = array[order[moved]]
        kept = slice(len(order))
        return Rows(self.layout, self.centre[order], self.features[kept], self.weighted[kept], self.shares)


class _Batch:
    """The replicates that have not converged, their mixtures relative to the rows' centre, and the others' fits."""

    def __init__(self, rows: Rows, start: Mixtures) -> None:
        count = len(start.weights)
        self.places = np.arange(count)
        """[R'], numbers of the replicates that are left."""
        self.rows = rows
        self.mixtures = start.shifted(-rows.centre)
        self.log_likelihood = np.full(count, -math.inf)
        self.coefficients = self._coefficients()
        self.fits = MixtureFits(
            Mixtures(*map(np.empty_like, start)), np.empty(count), np.empty(count, int), np.empty(count, bool)
        )

    def step(self) -> Array:
        """One E and one M step; gives the absolute change of the log-likelihood, [R']."""
        previous = self.log_likelihood
        self.log_likelihood, responsibilities = _expect(self.coefficients, self.rows)
        self.mixtures = _maximise(responsibilities, self.rows)
        self.coefficients = self._coefficients()
        return np.abs(self.log_likelihood - previous)

    def leave(self, leaving: NDArray[np.bool_], converged: NDArray[np.bool_], iteration: int) -> None:
        """Keep the fits of those that leave, and go on with the others."""
        lost = _is_lost_in_rounding(self.mixtures.select(leaving))
        if lost.any():
            raise CollapsedComponentError(int(lost.sum()))
        places, final = self.places[leaving], self.mixtures.shifted(self.rows.centre)
        for kept, part in zip(self.fits.mixtures, final, strict=True):
            kept[places] = part[leaving]
        self.fits.log_likelihood[places] = self.log_likelihood[leaving]
        self.fits.iterations[places] = iteration
        self.fits.converged[places] = converged[leaving]
        order = _closing_gaps(leaving)
        self.rows, self.mixtures, self.places = self.rows.keep(order), self.mixtures.select(order), self.places[order]
        self.coefficients, self.log_likelihood = self.coefficients[order], self.log_likelihood[order]

    def _coefficients(self) -> Array:
        try:
            return _coefficients(self.mixtures, self.rows.layout)
        except np.linalg.LinAlgError:
            lost = [not all(map(_is_positive_definite, matrices)) for matrices in self.mixtures.covariances]
            raise CollapsedComponentError(sum(lost)) from None


def _closing_gaps(leaving: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The order in which the last of those that stay take the places of those that leave."""
    stay = len(leaving) - int(leaving.sum())
    order = np.arange(stay)
    order[leaving[:stay]] = stay + np.flatnonzero(~leaving[stay:])
    return order


def _is_lost_in_rounding(centred: Mixtures) -> NDArray[np.bool_]:
    """Whether a component is so narrow beside its distance from the centre that its width is rounding alone, [R]."""
    smallest = np.linalg.eigvalsh(centred.covariances)[..., 0]
    return (smallest < ROUNDING * np.square(centred.means).sum(axis=-1)).any(axis=1)


def _is_positive_definite(matrix: Array) -> bool:
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


def _coefficients(mixtures: Mixtures, layout: _Layout) -> Array:
    """[R, K, F]: times the features they are the logarithms of weight times density."""
    weights, means, covariances = mixtures
    factors = np.linalg.cholesky(covariances)
    whitening = np.linalg.inv(factors)
    precisions = whitening.swapaxes(-1, -2) @ whitening
    linear = np.matvec(precisions, means)
    log_determinants = np.log(factors.diagonal(axis1=-2, axis2=-1)).sum(axis=-1)
    squared_lengths = np.vecdot(means, linear) + means.shape[-1] * math.log(2 * math.pi)
    constants = np.log(weights) - log_determinants - 0.5 * squared_lengths
    products = precisions.reshape(*weights.shape, -1) @ layout.collect
    return np.concatenate([constants[..., None], linear, products], axis=-1)


def _expect(coefficients: Array, rows: Rows) -> tuple[Array, Array]:
    """The E step: mean log-likelihood a row, [R], and responsibilities, [R, K, N]."""
    logarithms = coefficients @ rows.features
    largest = logarithms.max(axis=1, keepdims=True)
    logarithms -= largest
    responsibilities = np.exp(logarithms, out=logarithms)
    totals = responsibilities.sum(axis=1, keepdims=True)
    responsibilities /= totals
    largest += np.log(totals, out=totals)
    return largest[:, 0] @ rows.shares, responsibilities


def _maximise(responsibilities: Array, rows: Rows) -> Mixtures:
    """The M step: mixtures relative to ``rows.centre``.

    The rows that ``EMPTY`` adds lie at the origin of the data, not at their centre: an empty component ends up there,
    as in scikit-learn.
    """
    layout, dimensions = rows.layout, rows.centre.shape[-1]
    moments = responsibilities @ rows.weighted.swapaxes(1, 2)
    sizes = moments[..., :1] + EMPTY
    averages = moments / sizes
    means, squares = averages[..., 1 : 1 + dimensions], averages[..., 1 + dimensions :]
    central = squares - means.take(layout.first, axis=-1) * means.take(layout.second, axis=-1)
    covariances = (central @ layout.spread + layout.floor).reshape(*means.shape, dimensions)
    weights = sizes[..., 0] / rows.features.shape[-1]
    return Mixtures(weights, means - rows.centre * (EMPTY / sizes), covariances)
