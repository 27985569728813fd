"""Kernel density estimation of points in any dimension."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from modelcollapse.data import data_of
from modelcollapse.families.estimators.estimator import Fitted, State
from modelcollapse.families.kernel_density.kernels import coordinate_variance, kernel_noise, log_densities
from modelcollapse.families.kernel_density.settings import KernelDensitySettings
from modelcollapse.seeding import Stream


class KernelDensityEstimator:
    """Kernels around the rows of a training set, of R replicates.

    A training set under accumulation is too large to be kept for each generation, so the state has what is left to do
    with its density: ``centres`` [R, C, d], rows drawn from it with replacement, around each of which a row is written
    (which makes independent draws of the density); ``log_densities`` [R, K] at the test points; ``mean`` and
    ``variance`` [R, d] of its rows (1/N); ``bandwidth`` [R].
    """

    def __init__(self, model: KernelDensitySettings, data: Any) -> None:
        self._model, self._centres = model, model.centres or data.rows
        self._source = data_of(data) or _Gaussian(data)
        self._true_mean = torch.as_tensor(self._source.mean, dtype=torch.float64)
        self._dimension: int = data.numbers_per_row
        self._kept: tuple[int, torch.Tensor] | None = None

    @property
    def true(self) -> State:
        """No parameters: what metrics compare with are the test points."""
        return {}

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """Points of the true distribution, [R, rows, d]."""
        drawn: torch.Tensor = self._source.draw(self._model.replicates, rows, stream)
        return drawn

    def draw(self, state: State, rows: int, stream: Stream) -> torch.Tensor:
        """Points of the density, [R, rows, d], one around each of the first centres."""
        centres = state["centres"][:, :rows]
        noise = kernel_noise(self._model.kernel, tuple(centres.shape), stream.numpy())
        return centres + state["bandwidth"][:, None, None] * noise

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """The density of kernels around ``data``, each of the weight of its row."""
        bandwidth = self._bandwidth(data.shape[1])
        points = self._test_points(stream)
        densities = log_densities(self._model.kernel, points, data, weights, bandwidth)
        rows = torch.ones(data.shape[1], dtype=torch.float64) if weights is None else weights
        mean = (rows[..., None] * data).mean(1)
        state = {
            "centres": _drawn(data, weights, self._centres, stream.within("centres").numpy()),
            "log_densities": densities,
            "mean": mean,
            "variance": (rows[..., None] * (data - mean[:, None]).square()).mean(1),
            "bandwidth": torch.full((len(data),), bandwidth, dtype=torch.float64),
        }
        return Fitted(state)

    def _bandwidth(self, rows: int) -> float:
        return self._model.bandwidth or scott_bandwidth(rows, self._dimension)

    def _test_points(self, stream: Stream) -> torch.Tensor:
        """The same in every generation of a chain."""
        if self._kept is None or self._kept[0] != stream.seed:
            self._kept = stream.seed, self.real(self._model.test_points, Stream(stream.seed, 0, "test_points"))
        return self._kept[1]

    def true_log_likelihood(self, data: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods [R, rows] of rows [R, rows, d] under the true distribution, where it is a Gaussian, nats."""
        found: torch.Tensor = self._source.log_likelihood(data)
        return found

    def measure(self, states: State, first: State, streams: Sequence[Stream]) -> Mapping[str, torch.Tensor]:
        """What has become of the density, each [T, R].

        ``test_loss``: mean of -log density at the test points, nats; infinite where a ball reaches one of them not.
        ``reached``: share of the test points where the density is above zero. ``variance``: of the rows about their
        own mean (1/N), mean over the coordinates. ``spread``: the same of the density, about the mean of the true
        distribution.
        """
        densities = states["log_densities"]
        width = states["bandwidth"].square() * coordinate_variance(self._model.kernel, self._dimension)
        centred = (states["mean"] - self._true_mean).square().mean(-1)
        variance = states["variance"].mean(-1)
        return {
            "test_loss": -densities.mean(-1),
            "reached": (densities > -torch.inf).double().mean(-1),
            "variance": variance,
            "spread": variance + width + centred,
        }


def scott_bandwidth(rows: int, dimension: int) -> float:
    """Scott's rule without the scale of the data, as scikit-learn has it: N^(-1 / (d + 4))."""
    return float(rows ** (-1 / (dimension + 4)))


def _drawn(
    data: torch.Tensor, weights: torch.Tensor | None, count: int, generator: np.random.Generator
) -> torch.Tensor:
    """Rows of each replicate, drawn with replacement by their weights, [R, count, d]."""
    size = (len(data), count)
    if weights is None:
        places = generator.integers(0, data.shape[1], size)
    elif weights.ndim == 1:
        places = generator.choice(data.shape[1], size, p=(weights / weights.sum()).numpy())
    else:
        places = np.stack([generator.choice(data.shape[1], count, p=(w / w.sum()).numpy()) for w in weights])
    return data.gather(1, torch.from_numpy(places)[:, :, None].expand(-1, -1, data.shape[2]))


class _Gaussian:
    """A true distribution that is a Gaussian."""

    def __init__(self, data: Any) -> None:
        self.mean = torch.tensor(data.mean, dtype=torch.float64)
        covariance = torch.tensor(data.covariance, dtype=torch.float64)
        self._factor = torch.linalg.cholesky(covariance)

    def draw(self, replicates: int, rows: int, stream: Stream) -> torch.Tensor:
        """Independent points, [R, rows, d]."""
        normal = torch.from_numpy(stream.numpy().standard_normal((replicates, rows, len(self.mean))))
        return self.mean + normal @ self._factor.mT

    def log_likelihood(self, data: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods [R, rows] of rows [R, rows, d]."""
        return torch.distributions.MultivariateNormal(self.mean, scale_tril=self._factor).log_prob(data)
