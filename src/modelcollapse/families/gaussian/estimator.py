"""Gaussians of any dimension, fitted by their moments, from samples or from exact draws of the sufficient statistics.

A covariance is carried as its lower-triangular Cholesky factor. A generation that sees only statistics then never
needs to factorise: the factor of the next covariance is the product of this one and Bartlett's.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from modelcollapse.data.settings import GaussianSamplesSettings
from modelcollapse.families.estimators.estimator import FitFailed, Fitted, State
from modelcollapse.families.gaussian.settings import GaussianSettings
from modelcollapse.seeding import Stream


class GaussianEstimator:
    """Mean and covariance of R replicates: state ``mean`` [R, d] and ``factor`` [R, d, d].

    Statistics of a set are ``rows`` [R], ``mean`` [R, d] and ``scatter_factor`` [R, d, d], the Cholesky factor of the
    sum of (x - mean)(x - mean)^T over its rows.
    """

    def __init__(self, model: GaussianSettings, data: GaussianSamplesSettings) -> None:
        self._biased = model.estimator == "biased"
        mean = torch.tensor(data.mean, dtype=torch.float64)
        factor = torch.linalg.cholesky(torch.tensor(data.covariance, dtype=torch.float64))
        self._true = {
            "mean": mean.expand(model.replicates, -1),
            "factor": factor.expand(model.replicates, -1, -1),
        }

    @property
    def true(self) -> State:
        """``mean`` [d] and ``factor`` [d, d] of the true Gaussian."""
        return {name: values[0] for name, values in self._true.items()}

    # ---- samples ----------------------------------------------------------------------------------------------

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """Samples of the true Gaussian, [R, rows, d]."""
        return self.draw(self._true, rows, stream)

    def draw(self, state: State, rows: int, stream: Stream) -> torch.Tensor:
        """Samples, [R, rows, d]."""
        replicates, dimension = state["mean"].shape
        noise = _normal(stream.numpy(), replicates, rows, dimension)
        return state["mean"][:, None] + noise @ state["factor"].mT

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """Weighted moments. The unbiased covariance divides by N - sum w^2 / N, which is N - 1 for equal weights.

        Raises FitFailed where a covariance is singular.
        """
        rows = data.shape[1]
        weights = torch.ones(rows, dtype=torch.float64) if weights is None else weights
        mean = (weights[..., None] * data).sum(1) / rows
        centred = weights.sqrt()[..., None] * (data - mean[:, None])
        lost = torch.zeros((), dtype=torch.float64) if self._biased else weights.square().sum(-1) / rows
        covariance = centred.mT @ centred / (rows - lost).view(-1, 1, 1)
        return Fitted({"mean": mean, "factor": _cholesky(covariance, stream.generation)})

    def log_likelihood(self, state: State, data: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods [R, rows] of rows ``data`` [R, rows, d], nats."""
        factor = state["factor"]
        white = _solved(factor, (data - state["mean"][:, None]).mT)
        log_volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = data.shape[2] / 2 * math.log(2 * math.pi)
        return -white.square().sum(1) / 2 - log_volume[:, None] - constant

    def true_log_likelihood(self, data: torch.Tensor) -> torch.Tensor:
        """The same under the true Gaussian."""
        return self.log_likelihood(self._true, data)

    # ---- sufficient statistics --------------------------------------------------------------------------------

    def real_statistics(self, rows: int, stream: Stream) -> State:
        """Statistics of ``rows`` samples of the true Gaussian."""
        return self.draw_statistics(self._true, rows, stream)

    def draw_statistics(self, state: State, rows: int, stream: Stream) -> State:
        """Mean and scatter of ``rows`` samples, independent of each other, at a cost that does not depend on ``rows``.

        mean ~ N(mu, Sigma / M) and scatter ~ Wishart(Sigma, M - 1) (Cochran); by Bartlett (1933) the scatter of a
        standard Gaussian has a Cholesky factor of independent entries: chi with M - 1 - i degrees of freedom at place
        i of the diagonal, standard normal below.
        """
        replicates, dimension = state["mean"].shape
        generator = stream.numpy()
        noise = _normal(generator, replicates, dimension, 1)
        degrees = rows - 1.0 - np.arange(dimension)
        bartlett = torch.diag_embed(torch.from_numpy(generator.chisquare(degrees, (replicates, dimension))).sqrt())
        if dimension > 1:
            bartlett += _normal(generator, replicates, dimension, dimension).tril(-1)
        return {
            "rows": torch.full((replicates,), rows, dtype=torch.float64),
            "mean": state["mean"] + (state["factor"] @ noise)[..., 0] / math.sqrt(rows),
            "scatter_factor": state["factor"] @ bartlett,
        }

    def pool_statistics(self, left: State, right: State) -> State:
        """Statistics of the union of two sets (Chan, Golub and LeVeque 1979)."""
        rows = left["rows"] + right["rows"]
        step = right["mean"] - left["mean"]
        share = (right["rows"] / rows)[:, None]
        between = (left["rows"] * right["rows"] / rows)[:, None, None] * step[:, :, None] * step[:, None, :]
        within = sum(item["scatter_factor"] @ item["scatter_factor"].mT for item in (left, right))
        return {
            "rows": rows,
            "mean": left["mean"] + share * step,
            "scatter_factor": _cholesky(within + between),
        }

    def fit_statistics(self, statistics: State, previous: State | None, stream: Stream) -> Fitted:
        """The moments of the set that the statistics are of."""
        rows = statistics["rows"] if self._biased else statistics["rows"] - 1
        factor = statistics["scatter_factor"] / rows.sqrt()[:, None, None]
        return Fitted({"mean": statistics["mean"], "factor": factor})

    # ---- merges -----------------------------------------------------------------------------------------------

    def parameters(self, state: State) -> State:
        """``mean`` [R, d] and ``covariance`` [R, d, d]."""
        return {"mean": state["mean"], "covariance": state["factor"] @ state["factor"].mT}

    def of_parameters(self, parameters: State, previous: State, generation: int) -> State:
        """The state of a mean and a covariance. Raises FitFailed where a covariance is not positive definite."""
        factors, failures = torch.linalg.cholesky_ex(parameters["covariance"])
        if failures.any():
            raise FitFailed(
                f"generation {generation}: the merged covariance of {int((failures > 0).sum())} of {len(factors)}"
                " replicates is not positive definite; choose a merge that stays nearer to the fitted ones and to"
                " generation 0's (a smaller merge.weight, merge=average), or more data.rows"
            )
        return {"mean": parameters["mean"], "factor": factors}

    # ---- measures ---------------------------------------------------------------------------------------------

    def measure(self, states: State, first: State, streams: Sequence[Stream]) -> Mapping[str, torch.Tensor]:
        """Distances to the true Gaussian, each [T, R], in units of the data.

        ``mean_error``: distance of the estimated mean from the true one, |mu - mu_hat|.
        ``squared_mean_error``: its square.
        ``standard_deviation_error``: Bures distance of the covariances, in one dimension |sigma - sigma_hat|.
        ``squared_wasserstein``: squared 2-Wasserstein distance to the true Gaussian, the sum of both squares.
        ``variance``: trace of the estimated covariance; ``log_determinant``: logarithm of its determinant.
        ``spread_about_true_mean``: mean squared distance of a sample from the true mean; over replicates, Var(X^n).
        ``kl_from_true``: Kullback-Leibler divergence KL(true || estimate), expected under the true Gaussian, nats.
        """
        mean, factor = states["mean"] - self._true["mean"], states["factor"]
        true_factor = self._true["factor"].expand_as(factor)
        squared_mean_error = mean.square().sum(-1)
        bures = _bures_distance(true_factor, factor)
        trace = factor.square().sum((-2, -1))
        log_volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        true_log_volume = true_factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        solved = _solved(factor, torch.cat([true_factor, mean[..., None]], -1))
        divergence = (solved.square().sum((-2, -1)) - mean.shape[-1]) / 2 + log_volume - true_log_volume
        return {
            "mean_error": squared_mean_error.sqrt(),
            "squared_mean_error": squared_mean_error,
            "standard_deviation_error": bures,
            "squared_wasserstein": squared_mean_error + bures.square(),
            "variance": trace,
            "spread_about_true_mean": trace + squared_mean_error,
            "log_determinant": 2 * log_volume,
            "kl_from_true": divergence.masked_fill(log_volume.isneginf(), torch.inf),
        }


def _normal(generator: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(generator.standard_normal(shape))


def _cholesky(matrices: torch.Tensor, generation: int | None = None) -> torch.Tensor:
    """Lower-triangular factors of [R, d, d]. Raises FitFailed where one is not positive definite."""
    if matrices.shape[-1] == 1:
        return matrices.sqrt()
    factors, failures = torch.linalg.cholesky_ex(matrices)
    if failures.any():
        where = "" if generation is None else f"generation {generation}: "
        raise FitFailed(
            f"{where}the covariance of {int((failures > 0).sum())} of {len(matrices)} replicates is singular in double"
            " precision; more data.rows, fewer generations, or model.synthesis=statistics, which does not factorise,"
            " may help"
        )
    return factors


def _solved(factor: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """factor^-1 right, for lower-triangular factors [..., d, d]."""
    # LAPACK, called for a thousand matrices of one number each, would be most of a generation's work.
    return right / factor if factor.shape[-1] == 1 else torch.linalg.solve_triangular(factor, right, upper=False)


def _bures_distance(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """sqrt(tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2) of covariances given by their factors, each [..., d, d].

    The last trace is the sum of the singular values of left^T right.
    """
    if left.shape[-1] == 1:
        return (left - right).abs()[..., 0, 0]
    fidelity = torch.linalg.svdvals(left.mT @ right).sum(-1)
    squared = left.square().sum((-2, -1)) + right.square().sum((-2, -1)) - 2 * fidelity
    return squared.clamp(min=0).sqrt()
