"""Gaussian mixtures and distances between them, for many pairs at once.

Letters in shapes: R replicates, N rows, d dimensions, K components. All arrays are float64.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelcollapse.compiled import plain
from modelcollapse.families.gaussian_mixture.kernels import log_densities, place_samples

Array = NDArray[np.float64]

_LOG_TWO_PI = math.log(2 * math.pi)
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(96)
_REACH = 9.0
"""Standard deviations of a Gaussian that are integrated over: 2e-19 of it lie beyond."""


class Mixtures(NamedTuple):
    """One Gaussian mixture a replicate."""

    weights: Array
    """[R, K], positive, of sum 1."""
    means: Array
    """[R, K, d]."""
    covariances: Array
    """[R, K, d, d], positive definite."""

    def select(self, replicates: NDArray[np.int64] | NDArray[np.bool_] | slice | int) -> "Mixtures":
        """The mixtures of some replicates, by number or mask."""
        return Mixtures(self.weights[replicates], self.means[replicates], self.covariances[replicates])

    def flattened(self) -> "Mixtures":
        """The mixtures of several generations, [T, R, ...], as one batch of T * R."""
        return Mixtures(*(part.reshape(-1, *part.shape[2:]) for part in self))

    def by_weight(self) -> "Mixtures":
        """The mixtures with their components in order of weight, the heaviest first."""
        order = np.argsort(-self.weights, axis=1, kind="stable")
        replicates = np.arange(len(order))[:, None]
        return Mixtures(*(part[replicates, order] for part in self))

    def mean(self) -> Array:
        """Means of the whole distributions, [R, d]."""
        return (self.weights[:, None] @ self.means)[:, 0]

    def covariance(self) -> Array:
        """Covariances of the whole distributions, [R, d, d]: within the components and between them."""
        offsets = self.means - self.mean()[:, None]
        between = offsets[..., :, None] * offsets[..., None, :]
        return np.einsum("rk,rkij->rij", self.weights, self.covariances + between)


def sample(mixtures: Mixtures, rows: int, generator: np.random.Generator) -> Array:
    """Independent samples as columns, [R, d, rows]."""
    weights, means, covariances = map(plain, mixtures)
    uniforms = generator.random((len(means), rows))
    samples = generator.standard_normal((len(means), means.shape[2], rows))
    place_samples(samples, uniforms, weights, means, np.linalg.cholesky(covariances))
    return samples


def log_density(mixtures: Mixtures, columns: Array) -> Array:
    """Logarithms of the densities, [R, N], at rows given as ``columns`` [R, d, N]."""
    return log_densities(plain(columns), *map(plain, mixtures))


def squared_l2_distance(left: Mixtures, right: Mixtures) -> Array:
    """Integrals of (p - q)^2, [R], in closed form.

    The product of two Gaussian densities integrates to the density of N(0, S + S') at the difference of their means.
    """
    weights = np.concatenate([left.weights, -right.weights], axis=1)
    means = np.concatenate([left.means, right.means], axis=1)
    covariances = np.concatenate([left.covariances, right.covariances], axis=1)
    whitening, log_determinants = _whitening(covariances[:, :, None] + covariances[:, None])
    offsets = means[:, :, None] - means[:, None]
    lengths = np.square(whitening @ offsets[..., None]).sum(axis=(-2, -1))
    overlaps = np.exp(-0.5 * (lengths + means.shape[-1] * _LOG_TWO_PI) - log_determinants)
    # Rounding may leave the distance of equal mixtures below zero.
    return np.maximum((weights[:, None] @ overlaps @ weights[..., None])[:, 0, 0], 0)


def kl_divergence(left: Mixtures, right: Mixtures, columns: Array) -> tuple[Array, Array]:
    """KL(p || q) in nats by Monte Carlo, and its standard error, [R] each.

    ``columns`` [R, d, N] are N independent rows drawn from p, which is ``left``.
    """
    ratios = log_density(left, columns) - log_density(right, columns)
    return ratios.mean(axis=1), ratios.std(axis=1, ddof=1) / math.sqrt(columns.shape[2])


def gelbrich_distance(left: Mixtures, right: Mixtures) -> Array:
    """W2 of the Gaussians that have the mixtures' means and covariances, [R]: a lower bound of W2 (Gelbrich 1990)."""
    moments = ((mixtures.mean(), mixtures.covariance()) for mixtures in (left, right))
    (left_mean, left_covariance), (right_mean, right_covariance) = moments
    return np.sqrt(_squared_gaussian_w2(left_mean, left_covariance, right_mean, right_covariance))


def mixture_wasserstein_distance(left: Mixtures, right: Mixtures) -> Array:
    """MW2, [R]: W2 among couplings that are themselves mixtures, hence an upper bound of W2 (Delon & Desolneux 2020).

    The cheapest transport of the weights, where moving component i to j costs the squared W2 of the two Gaussians.
    """
    costs = _squared_gaussian_w2(
        left.means[:, :, None],
        left.covariances[:, :, None],
        right.means[:, None],
        right.covariances[:, None],
    )
    components = costs.shape[1:]
    transport = _transport_of_two if components == (2, 2) else _transport
    return np.sqrt(np.maximum(transport(costs, left.weights, right.weights), 0))


def mass_outside_ellipsoids(mixtures: Mixtures, mean: Array, factor: Array, radii: Sequence[float]) -> list[Array]:
    """Probabilities, [R] for each radius, of (x - mean)^T S^-1 (x - mean) > radius^2, in one and two dimensions.

    ``factor`` [d, d] is the Cholesky factor of S. In two dimensions by quadrature: a component is integrated along the
    axis where it is narrower; along the other its distribution function is known. Raises ValueError in more dimensions.
    """
    whitening = np.linalg.inv(factor)
    means = (mixtures.means - mean) @ whitening.T
    variances, axes = np.linalg.eigh(whitening @ mixtures.covariances @ whitening.T)
    means = (means[..., None, :] @ axes)[..., 0, :]
    deviations = np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
    inside = _inside_ball(means.shape[-1])
    shares = [(mixtures.weights * (1 - inside(means, deviations, radius))).sum(axis=1) for radius in radii]
    return [np.clip(share, 0, 1) for share in shares]


def share_outside_ellipsoid(columns: Array, mean: Array, factor: Array, radius: float) -> Array:
    """Shares, [R], of the rows ``columns`` [R, d, N] with (x - mean)^T S^-1 (x - mean) > radius^2."""
    white = np.linalg.inv(factor) @ (columns - mean[:, None])
    return (np.square(white).sum(axis=1) > radius**2).mean(axis=1)


def _whitening(covariances: Array) -> tuple[Array, Array]:
    """Inverse Cholesky factors, and half the logarithms of the determinants."""
    factors = np.linalg.cholesky(covariances)
    return np.linalg.inv(factors), np.log(factors.diagonal(axis1=-2, axis2=-1)).sum(axis=-1)


def _squared_gaussian_w2(left_mean: Array, left_covariance: Array, right_mean: Array, right_covariance: Array) -> Array:
    """Squared W2 of Gaussians; the trace of (A^1/2 B A^1/2)^1/2 is the sum of the singular values of their factors'."""
    left_factor, right_factor = np.linalg.cholesky(left_covariance), np.linalg.cholesky(right_covariance)
    fidelity = np.linalg.svd(left_factor.swapaxes(-1, -2) @ right_factor, compute_uv=False).sum(axis=-1)
    traces = np.square(left_factor).sum(axis=(-2, -1)) + np.square(right_factor).sum(axis=(-2, -1))
    return np.maximum(np.square(left_mean - right_mean).sum(axis=-1) + traces - 2 * fidelity, 0)


def _transport_of_two(costs: Array, left: Array, right: Array) -> Array:
    """Cheapest transports between two weights and two, [R]: the cost is linear in the one free entry of the plan."""
    least = np.maximum(0, left[:, 0] + right[:, 0] - 1)
    most = np.minimum(left[:, 0], right[:, 0])
    kept = np.stack([least, most])
    rest = 1 - left[:, 0] - right[:, 0] + kept
    crossed = (left[:, 0] - kept) * costs[:, 0, 1] + (right[:, 0] - kept) * costs[:, 1, 0]
    return (kept * costs[:, 0, 0] + crossed + rest * costs[:, 1, 1]).min(axis=0)


def _transport(costs: Array, left: Array, right: Array) -> Array:
    """Cheapest transports, [R], each by linear programming."""
    from scipy.optimize import linprog

    rows, columns = costs.shape[1:]
    leaving, arriving = np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))
    # The last condition follows from the others, and rounding may contradict it.
    conditions = np.concatenate([leaving, arriving])[:-1]
    amounts = np.concatenate([left, right], axis=1)[:, :-1]
    problems = zip(costs.reshape(len(costs), -1), amounts, strict=True)
    return np.array([linprog(cost, A_eq=conditions, b_eq=amount).fun for cost, amount in problems])


def _inside_ball(dimensions: int) -> Callable[[Array, Array, float], Array]:
    if dimensions > 2:
        raise ValueError(f"no quadrature in {dimensions} dimensions")
    return _inside_disc if dimensions == 2 else _inside_interval


def _inside_interval(means: Array, deviations: Array, radius: float) -> Array:
    return _between(-radius, radius, means[..., 0], deviations[..., 0])


def _inside_disc(means: Array, deviations: Array, radius: float) -> Array:
    """Probabilities that (x, y) of independent Gaussians lies in the disc; x, the narrower, is radius * sin(angle)."""
    x, y = means[..., 0, None], means[..., 1, None]
    x_deviation, y_deviation = deviations[..., 0, None], deviations[..., 1, None]
    ends = (x + sign * _REACH * x_deviation for sign in (-1, 1))
    first, last = (np.arcsin(np.clip(end / radius, -1, 1)) for end in ends)
    angles = (first + last) / 2 + (last - first) / 2 * _NODES
    height = radius * np.cos(angles)
    density = np.exp(-0.5 * np.square((radius * np.sin(angles) - x) / x_deviation))
    slices = density * height * _between(-height, height, y, y_deviation)
    scale = (last - first)[..., 0] / (2 * math.sqrt(2 * math.pi) * deviations[..., 0])
    return scale * (slices @ _NODE_WEIGHTS)


def _between(low: Array | float, high: Array | float, mean: Array, deviation: Array) -> Array:
    """Probabilities of a Gaussian between two bounds."""
    from scipy.special import ndtr

    return ndtr((high - mean) / deviation) - ndtr((low - mean) / deviation)
