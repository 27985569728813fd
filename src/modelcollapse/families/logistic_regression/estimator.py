"""Logistic regression by maximum likelihood."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch.nn.functional import softplus

from modelcollapse.data.labelled_samples import LogisticSamplesSettings
from modelcollapse.families.estimators.estimator import FitFailed, Fitted, State
from modelcollapse.families.estimators.features import Features
from modelcollapse.families.logistic_regression.newton import NoFiniteFit, logistic_weights
from modelcollapse.families.logistic_regression.quadrature import STEEP, decaying_nodes, expected_slope, normal_nodes
from modelcollapse.families.logistic_regression.settings import LogisticRegressionSettings
from modelcollapse.seeding import Stream


class LogisticRegressionEstimator:
    """Weights of R replicates: state ``weights`` [R, d]. A row is (x, y), its d features and its label, 0 or 1."""

    def __init__(self, model: LogisticRegressionSettings, data: LogisticSamplesSettings, sharing: int = 1) -> None:
        """``sharing`` members of a population have the same real rows."""
        self._ridge, self._flips = model.ridge, model.flipped
        self._features = Features(
            model.replicates, data.dimension, are_fresh=model.features == "fresh", sharing=sharing
        )
        self._true = {"weights": torch.from_numpy(data.true_weights).expand(model.replicates, -1)}

    @property
    def true(self) -> State:
        """``weights`` [d] of the true distribution."""
        return {"weights": self._true["weights"][0]}

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """Rows of the true distribution, [R, rows, d + 1]."""
        return _labelled(self._features.real(rows, stream), self._true, stream)

    def draw(self, state: State, rows: int, stream: Stream) -> torch.Tensor:
        """Rows labelled by the model, [R, rows, d + 1]."""
        return self._flipped(_labelled(self._features.labelled(rows, stream), state, stream), stream)

    def _flipped(self, rows: torch.Tensor, stream: Stream) -> torch.Tensor:
        """The rows, with some of their labels turned into the other one."""
        if self._flips == 0:
            return rows
        flips = torch.from_numpy(stream.within("flips").numpy().random(tuple(rows.shape[:2]))) < self._flips
        rows[..., -1] = torch.where(flips, 1 - rows[..., -1], rows[..., -1])
        return rows

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """Maximum likelihood, less the ridge; diagnostic ``iterations``. Raises FitFailed where there is none."""
        features, labels = data[..., :-1], data[..., -1]
        rows = (torch.ones(data.shape[1], dtype=torch.float64) if weights is None else weights).expand(labels.shape)
        # Always from the same place: where a fit ends must not depend on how it was come by.
        start = torch.zeros(len(data), features.shape[2], dtype=torch.float64)
        try:
            found, iterations = logistic_weights(features, labels, rows, self._ridge, start)
        except NoFiniteFit as error:
            raise FitFailed(
                f"generation {stream.generation}: a plane separates the labels of a replicate, so its likelihood has no"
                " maximum; choose a model.ridge above 0, more data.rows or a smaller data.signal"
            ) from error
        return Fitted({"weights": found}, {"iterations": iterations})

    def parameters(self, state: State) -> State:
        """What a merge computes with: the state itself, ``weights`` [R, d]."""
        return state

    def of_parameters(self, parameters: State, previous: State, generation: int) -> State:
        """The state of merged weights; all finite ones are weights of a model."""
        return parameters

    def log_likelihood(self, state: State, data: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods [R, rows] of rows (x, y), features and label together, nats."""
        features, labels = data[..., :-1], data[..., -1]
        logits = (features @ state["weights"][..., None])[..., 0]
        of_features = -features.square().sum(2) / 2 - features.shape[2] / 2 * math.log(2 * math.pi)
        return of_features + labels * logits - softplus(logits)

    def true_log_likelihood(self, data: torch.Tensor) -> torch.Tensor:
        """The same under the true distribution."""
        return self.log_likelihood(self._true, data)

    def is_right(self, data: torch.Tensor) -> torch.Tensor:
        """Whether the label of each row is the more probable one under the true distribution, bool [R, rows]."""
        features, labels = data[..., :-1], data[..., -1]
        return (features @ self._true["weights"][..., None] > 0)[..., 0] == (labels > 0)

    def measure(self, states: State, first: State, streams: Sequence[Stream]) -> Mapping[str, torch.Tensor]:
        """How far the weights are from the true ones, each [T, R].

        ``squared_error``: |w - w*|^2. ``squared_norm``: |w|^2. ``disagreement``: probability that the more probable
        label is another than the true model's, the angle between w and w* over pi. ``kl_from_true``: expected KL
        divergence, nats a label, of the model from the truth.
        """
        weights, true = states["weights"], self._true["weights"][0]
        squares = weights.square().sum(-1)
        products = weights @ true
        cosine = products / (squares.sqrt() * true.norm()).clamp(min=torch.finfo(torch.float64).tiny)
        # E[-log q(y | x)] = E[softplus(x · w)] - E[sigmoid(x · w*) x · w], whose last factor is linear in w (Stein).
        entropy = self._expected_softplus(true.norm()) - true.square().sum() * self._slope
        return {
            "squared_error": (weights - true).square().sum(-1),
            "squared_norm": squares,
            "disagreement": cosine.clamp(-1, 1).arccos() / torch.pi,
            "kl_from_true": self._expected_softplus(squares.sqrt()) - products * self._slope - entropy,
        }

    @cached_property
    def _slope(self) -> float:
        """E[sigmoid'(x · w*)]."""
        return expected_slope(float(self._true["weights"][0].norm()))

    def _expected_softplus(self, norms: torch.Tensor) -> torch.Tensor:
        """E[log(1 + exp(s z))] for z ~ N(0, 1) and each s."""
        places, weights = map(torch.from_numpy, normal_nodes())
        flat = softplus(norms[..., None] * places) @ weights
        # log(1 + exp(x)) is max(x, 0) and something that falls as exp(-|x|).
        distances, weights = map(torch.from_numpy, decaying_nodes())
        normal = (-(distances / norms[..., None]).square() / 2).exp() / math.sqrt(2 * math.pi)
        steep = norms / math.sqrt(2 * math.pi) + 2 / norms * ((normal * softplus(-distances)) @ weights)
        return torch.where(norms > STEEP, steep, flat)


def _labelled(features: torch.Tensor, state: State, stream: Stream) -> torch.Tensor:
    probabilities = (features @ state["weights"][..., None])[..., 0].sigmoid()
    chance = torch.from_numpy(stream.within("labels").numpy().random(tuple(probabilities.shape)))
    labels = (chance < probabilities).double()
    return torch.cat([features, labels[..., None]], dim=2)
