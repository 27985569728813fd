"""Linear regression by least squares, from rows or from the sums over them that a fit sees."""

from collections.abc import Mapping, Sequence

import torch

from modelcollapse.data.labelled_samples import LinearSamplesSettings
from modelcollapse.families.estimators.estimator import FitFailed, Fitted, State
from modelcollapse.families.estimators.features import Features
from modelcollapse.families.linear_regression.settings import LinearRegressionSettings
from modelcollapse.seeding import Stream


class LinearRegressionEstimator:
    """Weights of R replicates: state ``weights`` [R, d].

    A row is (x, y), its d features and its label. Statistics of a set are ``rows`` [R], ``gram`` [R, d, d], the sum of
    x x^T over its rows, and ``moment`` [R, d], the sum of x y. Labels of a model are x · w and noise of the true size
    (Gerstgrasser et al. 2024).
    """

    def __init__(self, model: LinearRegressionSettings, data: LinearSamplesSettings) -> None:
        self._ridge, self._noise = model.ridge, data.noise
        self._features = Features(model.replicates, data.dimension, are_fresh=model.features == "fresh")
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
        noise = self._noise * _normal(stream, *features.shape[:2])
        labels = (features @ state["weights"][..., None])[..., 0] + noise
        return torch.cat([features, labels[..., None]], dim=2)

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """Weighted least squares. Raises FitFailed where the weights are no numbers any more."""
        features, labels = data[..., :-1], data[..., -1:]
        weighted = features if weights is None else weights[:, None] * features
        moment = (weighted.mT @ labels)[..., 0]
        return self._solved(weighted.mT @ features, moment, data.shape[1], stream)

    # ---- sums -------------------------------------------------------------------------------------------------

    def real_statistics(self, rows: int, stream: Stream) -> State:
        """The sums of the rows that ``real`` gives."""
        return _sums(self.real(rows, stream))

    def draw_statistics(self, state: State, rows: int, stream: Stream) -> State:
        """The sums of the rows that ``draw`` gives."""
        return _sums(self.draw(state, rows, stream))

    def pool_statistics(self, left: State, right: State) -> State:
        """The sums of the union of two sets."""
        return {name: left[name] + right[name] for name in left}

    def fit_statistics(self, statistics: State, previous: State | None, stream: Stream) -> Fitted:
        """Least squares. Raises FitFailed where the weights are no numbers any more."""
        return self._solved(statistics["gram"], statistics["moment"], statistics["rows"][:, None], stream)

    # ---- both -------------------------------------------------------------------------------------------------

    def _solved(self, gram: torch.Tensor, moment: torch.Tensor, rows: torch.Tensor | int, stream: Stream) -> Fitted:
        """The weights that minimise mean (y - x · w)^2 + ridge |w|^2; without a ridge those of least norm."""
        eigenvalues, vectors = torch.linalg.eigh(gram)
        smallest = eigenvalues[:, -1:] * gram.shape[1] * torch.finfo(gram.dtype).eps
        inverse = torch.where(eigenvalues > smallest, 1 / (eigenvalues + self._ridge * rows), 0.0)
        weights = vectors @ (inverse[..., None] * (vectors.mT @ moment[..., None]))
        if not bool(weights.isfinite().all()):
            raise FitFailed(f"generation {stream.generation}: the weights are too large for numbers")
        return Fitted({"weights": weights[..., 0]})

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


def _sums(rows: torch.Tensor) -> State:
    features, labels = rows[..., :-1], rows[..., -1:]
    counts = torch.full((len(rows),), rows.shape[1], dtype=torch.float64)
    return {"rows": counts, "gram": features.mT @ features, "moment": (features.mT @ labels)[..., 0]}


def _normal(stream: Stream, *shape: int) -> torch.Tensor:
    return torch.from_numpy(stream.within("noise").numpy().standard_normal(shape))
