"""Gaussian mixtures, fitted by expectation maximisation to samples of the mixture before."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import chdtri

from modelcollapse.data import data_of
from modelcollapse.errors import FitFailed
from modelcollapse.families.estimators.estimator import Fitted, State
from modelcollapse.families.gaussian_mixture.clustering import seed_candidates
from modelcollapse.families.gaussian_mixture.distances import (
    Array,
    Mixtures,
    gelbrich_distance,
    kl_divergence,
    log_density,
    mass_outside_ellipsoids,
    mixture_wasserstein_distance,
    sample,
    share_outside_ellipsoid,
    squared_l2_distance,
)
from modelcollapse.families.gaussian_mixture.expectation_maximisation import (
    CollapsedComponentError,
    ExpectationMaximisation,
    Rows,
)
from modelcollapse.families.gaussian_mixture.settings import GaussianMixtureSettings
from modelcollapse.seeding import Stream

TAIL_LEVELS = {"tail_mass_95": 0.95, "tail_mass_99": 0.99}
"""Measure -> probability of the true distribution's region that it is outside of."""


class GaussianMixtureEstimator:
    """Mixtures of R replicates: state ``weights`` [R, K], ``means`` [R, K, d] and ``covariances`` [R, K, d, d]."""

    def __init__(self, model: GaussianMixtureSettings, data: Any) -> None:
        """``data`` hold mean and covariance of the true distribution: a Gaussian, unless their kind draws samples."""
        self._model, self._source = model, data_of(data)
        self._maximisation = ExpectationMaximisation(
            model.covariance, model.tolerance, model.max_iterations, model.covariance_floor
        )
        mean, covariance = np.array(data.mean), np.array(data.covariance)
        one = Mixtures(np.ones((1, 1)), mean[None, None], covariance[None, None])
        self._true = one.select(np.zeros(model.replicates, dtype=np.int64))
        self._true_mean, self._true_factor = mean, np.linalg.cholesky(covariance)
        self._radii = {name: _radius(level, len(mean)) for name, level in TAIL_LEVELS.items()}

    @property
    def true(self) -> State:
        """``mean`` [d] and ``factor`` [d, d] of the true Gaussian."""
        return {"mean": torch.from_numpy(self._true_mean), "factor": torch.from_numpy(self._true_factor)}

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """Samples of the true distribution, [R, rows, d]."""
        if self._source is not None:
            drawn: torch.Tensor = self._source.draw(self._model.replicates, rows, stream)
            return drawn
        return _as_rows(sample(self._true, rows, stream.numpy()))

    def draw(self, state: State, rows: int, stream: Stream) -> torch.Tensor:
        """Samples of the mixtures, [R, rows, d]."""
        return _as_rows(sample(mixtures_of(state), rows, stream.numpy()))

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """Maximum likelihood; diagnostics are described in MEASURES.

        Raises FitFailed where a covariance is not positive definite, which takes ``covariance_floor`` near 0.
        """
        components = self._model.components
        uniforms = stream.numpy().random((len(data), components, seed_candidates(components)))
        rows = Rows.of(data.numpy(), None if weights is None else weights.numpy())
        try:
            fit = self._maximisation.fit(rows, self._start(rows, previous, uniforms))
        except CollapsedComponentError as collapse:
            raise FitFailed(f"generation {stream.generation}: {collapse}") from collapse
        collapsed = _collapsed_components(fit.mixtures, data.shape[1], self._model.covariance_floor)
        diagnostics = {
            "iterations": fit.iterations,
            "log_likelihood": fit.log_likelihood,
            "converged": fit.converged,
            "collapsed_components": collapsed,
        }
        return Fitted(_tensors(fit.mixtures._asdict()), _tensors(diagnostics))

    def log_likelihood(self, state: State, data: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods [R, rows] of rows ``data`` [R, rows, d], nats."""
        return torch.from_numpy(log_density(mixtures_of(state), data.numpy().swapaxes(1, 2)))

    def true_log_likelihood(self, data: torch.Tensor) -> torch.Tensor:
        """The same under the true distribution, where it is a Gaussian."""
        return torch.from_numpy(log_density(self._true, data.numpy().swapaxes(1, 2)))

    def _start(self, rows: Rows, previous: State | None, uniforms: Array) -> Mixtures:
        if self._model.start == "previous" and previous is not None:
            return mixtures_of(previous)
        if self._model.start == "kmeans++":
            return self._maximisation.start_from_rows(rows, uniforms)
        return self._maximisation.start_from_clusters(rows, uniforms)

    def measure(self, states: State, first: State, streams: Sequence[Stream]) -> Mapping[str, torch.Tensor]:
        """Distances from generation 0's mixture, and what the mixtures have become, each [T, R]; see MEASURES."""
        current, original = mixtures_of(states), mixtures_of(first)
        sampled = [self._sampled(original, current.select(t), stream) for t, stream in enumerate(streams)]
        measures = self._computed(_repeated(original, len(streams)), current.flattened())
        measures |= {name: np.concatenate([found[name] for found in sampled]) for name in sampled[0]}
        return _tensors({name: values.reshape(len(streams), -1) for name, values in measures.items()})

    def _sampled(self, original: Mixtures, current: Mixtures, stream: Stream) -> dict[str, Array]:
        """What samples estimate of one generation, each [R]."""
        generator, count = stream.numpy(), self._model.divergence_samples
        divergence, standard_error = kl_divergence(original, current, sample(original, count, generator))
        found = {"kl_from_first": divergence, "kl_from_first_standard_error": standard_error}
        if len(self._true_mean) > 2:
            columns = sample(current, count, generator)
            for name, radius in self._radii.items():
                found[name] = share_outside_ellipsoid(columns, self._true_mean, self._true_factor, radius)
        return found

    def _computed(self, original: Mixtures, current: Mixtures) -> dict[str, Array]:
        """What follows from the parameters of pairs of mixtures."""
        covariance = current.covariance()
        found = {
            "squared_l2_to_first": squared_l2_distance(original, current),
            "wasserstein_lower_bound": gelbrich_distance(original, current),
            "wasserstein_upper_bound": mixture_wasserstein_distance(original, current),
            "mean_error": np.linalg.norm(current.mean() - self._true_mean, axis=1),
            "variance": np.trace(covariance, axis1=1, axis2=2),
            "determinant": np.linalg.det(covariance),
            **self._components(current),
        }
        if len(self._true_mean) <= 2:
            radii = list(self._radii.values())
            masses = mass_outside_ellipsoids(current, self._true_mean, self._true_factor, radii)
            found |= zip(self._radii, masses, strict=True)
        return found

    def _components(self, current: Mixtures) -> dict[str, Array]:
        """What becomes of each component, numbered from the heaviest."""
        ordered = current.by_weight()
        distances = np.linalg.norm(ordered.means - self._true_mean, axis=2)
        spreads = np.sqrt(np.trace(ordered.covariances, axis1=2, axis2=3) / len(self._true_mean))
        determinants = np.linalg.det(ordered.covariances)
        found = {}
        for number in range(self._model.components):
            name = f"component_{number + 1}"
            found[f"{name}_weight"] = ordered.weights[:, number]
            found[f"{name}_mean_error"] = distances[:, number]
            found[f"{name}_spread"] = spreads[:, number]
            found[f"{name}_determinant"] = determinants[:, number]
        return found


MEASURES = {
    "squared_l2_to_first": "integral of (p - q)^2 for generation 0's mixture p and the current q, in closed form",
    "kl_from_first": "KL(p || q) in nats, by Monte Carlo",
    "kl_from_first_standard_error": "its standard error, from the Monte Carlo samples",
    "wasserstein_lower_bound": "W2 of the Gaussians with the moments of p and q (Gelbrich 1990)",
    "wasserstein_upper_bound": "MW2, W2 among couplings that are mixtures (Delon & Desolneux 2020)",
    "mean_error": "distance of the mixture's mean from the true one",
    "variance": "trace of the mixture's covariance as a whole",
    "determinant": "determinant of the mixture's covariance as a whole",
    "tail_mass_95": "probability outside the ellipsoid that holds 95 % of the true distribution",
    "tail_mass_99": "probability outside the ellipsoid that holds 99 % of the true distribution",
    "component_k_weight": "weight of the k-th heaviest component",
    "component_k_mean_error": "distance of its mean from the true one",
    "component_k_spread": "root of its mean variance over the dimensions",
    "component_k_determinant": "determinant of its covariance",
    "iterations": "pairs of E and M step",
    "log_likelihood": "mean log-likelihood of the training set, nats a row, before the last M step",
    "converged": "1 where the last change of the log-likelihood was below the tolerance, else 0",
    "collapsed_components": "components on less than one row, or no wider in some direction than twice the floor",
}
"""Measure -> what it is; distances in units of the data."""


def mixtures_of(state: State) -> Mixtures:
    """The mixtures that the parameters of R replicates, or [T, R], are of."""
    return Mixtures(*(state[name].numpy() for name in Mixtures._fields))


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(array, dtype=np.float64)) for name, array in arrays.items()}


def _as_rows(columns: Array) -> torch.Tensor:
    return torch.from_numpy(columns).mT


def _repeated(mixtures: Mixtures, times: int) -> Mixtures:
    """The mixtures of all replicates, for each of so many generations."""
    return mixtures.select(np.tile(np.arange(len(mixtures.weights)), times))


def _collapsed_components(mixtures: Mixtures, rows: int, floor: float) -> NDArray[np.int64]:
    narrow = np.linalg.eigvalsh(mixtures.covariances)[..., 0] < 2 * floor
    return (narrow | (mixtures.weights * rows < 1)).sum(axis=1)


def _radius(level: float, dimensions: int) -> float:
    """Radius of the ball that holds so much of a standard Gaussian."""
    return math.sqrt(chdtri(dimensions, 1 - level))
