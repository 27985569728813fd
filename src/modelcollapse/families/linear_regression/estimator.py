"""Linear regression by least squares, from rows or from the sums over them that a fit sees."""

import math
from collections.abc import Mapping, Sequence

import torch

from modelcollapse.data.labelled_samples import LinearSamplesSettings
from modelcollapse.families.estimators.estimator import FitFailed, Fitted, State
from modelcollapse.families.estimators.features import Features
from modelcollapse.families.linear_regression.settings import LinearRegressionSettings
from modelcollapse.seeding import Stream

SMALLEST_PIVOT = 1e-5
"""Relative size of a Cholesky factor's pivot below which its matrix is solved by eigenvalues."""


class LinearRegressionEstimator:
    """Weights of R replicates: state ``weights`` [R, d].

    A row is (x, y), its d features and its label. Statistics of a set are ``rows`` [R], ``gram`` [R, d, d], the sum of
    x x^T over its rows, and ``moment`` [R, d], the sum of x y. Labels of a model are x · w and noise of the true size
    (Gerstgrasser et al. 2024).
    """

    def __init__(self, model: LinearRegressionSettings, data: LinearSamplesSettings, sharing: int = 1) -> None:
        """``sharing`` members of a population have the same real rows."""
        self._ridge, self._noise = model.ridge, data.noise
        self._features = Features(
            model.replicates, data.dimension, are_fresh=model.features == "fresh", sharing=sharing
        )
        self._kept: tuple[torch.Tensor, torch.Tensor] | None = None
        self._true = {"weights": torch.from_numpy(data.true_weights).expand(model.replicates, -1)}

    @property
    def true(self) -> State:
        """``weights`` [d] of the true distribution."""
        return {"weights": self._true["weights"][0]}

    # ---- rows -------------------------------------------------------------------------------------------------

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """Rows of the true distribution, [R, rows, d + 1]."""
        return self._labelled(self._features.real(rows, stream), self._true, stream)

    def draw(self, state: State, rows: int, stream: Stream) -> torch.Tensor:
        """Rows labelled by the model, [R, rows, d + 1]."""
        return self._labelled(self._features.labelled(rows, stream), state, stream)

    def _labelled(self, features: torch.Tensor, state: State, stream: Stream) -> torch.Tensor:
        return torch.cat([features, self._labels(features, state, stream)[..., None]], dim=2)

    def _labels(self, features: torch.Tensor, state: State, stream: Stream) -> torch.Tensor:
        noise = torch.from_numpy(stream.within("noise").numpy().standard_normal(tuple(features.shape[:2])))
        return (features @ state["weights"][..., None])[..., 0] + self._noise * noise

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """Weighted least squares. Raises FitFailed where the weights are no numbers any more."""
        features, labels = data[..., :-1], data[..., -1:]
        weighted = features if weights is None else weights[..., None] * features
        moment = (weighted.mT @ labels)[..., 0]
        return self._solved(weighted.mT @ features, moment, data.shape[1], stream)

    def log_likelihood(self, state: State, data: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods [R, rows] of rows (x, y), features and label together, nats."""
        features, labels = data[..., :-1], data[..., -1]
        residuals = (labels - (features @ state["weights"][..., None])[..., 0]) / self._noise
        constant = data.shape[2] / 2 * math.log(2 * math.pi) + math.log(self._noise)
        return -(features.square().sum(2) + residuals.square()) / 2 - constant

    def true_log_likelihood(self, data: torch.Tensor) -> torch.Tensor:
        """The same under the true distribution."""
        return self.log_likelihood(self._true, data)

    # ---- sums -------------------------------------------------------------------------------------------------

    def real_statistics(self, rows: int, stream: Stream) -> State:
        """The sums of the rows that ``real`` gives."""
        return self._sums(self._features.real(rows, stream), self._true, stream)

    def draw_statistics(self, state: State, rows: int, stream: Stream) -> State:
        """The sums of the rows that ``draw`` gives."""
        return self._sums(self._features.labelled(rows, stream), state, stream)

    def _sums(self, features: torch.Tensor, state: State, stream: Stream) -> State:
        # Features that are labelled again have the same products.
        if self._kept is None or self._kept[0] is not features:
            self._kept = features, features.mT @ features
        counts = torch.full((len(features),), features.shape[1], dtype=torch.float64)
        moment = (features.mT @ self._labels(features, state, stream)[..., None])[..., 0]
        return {"rows": counts, "gram": self._kept[1], "moment": moment}

    def pool_statistics(self, left: State, right: State) -> State:
        """The sums of the union of two sets."""
        return {name: left[name] + right[name] for name in left}

    def fit_statistics(self, statistics: State, previous: State | None, stream: Stream) -> Fitted:
        """Least squares. Raises FitFailed where the weights are no numbers any more."""
        return self._solved(statistics["gram"], statistics["moment"], statistics["rows"][:, None], stream)

    # ---- both -------------------------------------------------------------------------------------------------

    def _solved(self, gram: torch.Tensor, moment: torch.Tensor, rows: torch.Tensor | int, stream: Stream) -> Fitted:
        """The weights that minimise mean (y - x · w)^2 + ridge |w|^2; without a ridge those of least norm."""
        penalties = torch.as_tensor(self._ridge * rows, dtype=torch.float64).expand(len(gram), 1)
        weights = _solution(gram + torch.diag_embed(penalties.expand(-1, gram.shape[1])), moment)
        if not bool(weights.isfinite().all()):
            raise FitFailed(f"generation {stream.generation}: the weights are too large for numbers")
        return Fitted({"weights": weights})

    def parameters(self, state: State) -> State:
        """What a merge computes with: the state itself, ``weights`` [R, d]."""
        return state

    def of_parameters(self, parameters: State, previous: State, generation: int) -> State:
        """The state of merged weights; all finite ones are weights of a model."""
        return parameters

    def measure(self, states: State, first: State, streams: Sequence[Stream]) -> Mapping[str, torch.Tensor]:
        """How far the weights are from the true ones, each [T, R].

        ``test_error``: expected squared error on noiseless labels, E[(x · w - x · w*)^2] = |w - w*|^2.
        ``squared_norm``: |w|^2. ``squared_drift``: squared distance to the weights of generation 0.
        """
        weights, true = states["weights"], self._true["weights"]
        return {
            "test_error": (weights - true).square().sum(-1),
            "squared_norm": weights.square().sum(-1),
            "squared_drift": (weights - first["weights"]).square().sum(-1),
        }


def _solution(matrices: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """The solutions of least norm, [R, d], of positive semidefinite systems."""
    factors, failed = torch.linalg.cholesky_ex(matrices)
    diagonal = factors.diagonal(dim1=1, dim2=2)
    is_regular = (failed == 0) & (diagonal.amin(1) > SMALLEST_PIVOT * diagonal.amax(1))
    if bool(is_regular.all()):
        return torch.cholesky_solve(moments[..., None], factors)[..., 0]
    eigenvalues, vectors = torch.linalg.eigh(matrices)
    smallest = eigenvalues[:, -1:] * matrices.shape[1] * torch.finfo(matrices.dtype).eps
    inverse = torch.where(eigenvalues > smallest, 1 / eigenvalues, 0.0)
    return (vectors @ (inverse[..., None] * (vectors.mT @ moments[..., None])))[..., 0]
