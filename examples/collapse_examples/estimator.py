"""The exponential distribution, fitted by maximum likelihood to a batch of independent replicates."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modelcollapse.families.estimators.estimator import Fitted, State
from modelcollapse.seeding import Stream


class ExponentialEstimator:
    """The mean of an exponential distribution, of R replicates: state ``mean`` [R], rows [R, rows, 1].

    A fit to M rows of the model before multiplies the mean by a Gamma(M, 1/M) number: its expectation stays, and its
    logarithm drifts by about -1/(2M) a generation, so that almost every replicate collapses to 0 in the end.
    """

    def __init__(self, replicates: int, data: Any) -> None:
        """``data`` draws real rows: an object of a kind of data of the form ``positive_samples``."""
        self._replicates, self._data = replicates, data

    @property
    def true(self) -> State:
        """``mean`` of the true distribution."""
        return {"mean": torch.tensor(self._data.mean, dtype=torch.float64)}

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """Rows of the true distribution, [R, rows, 1]."""
        return self._data.draw(self._replicates, rows, stream)

    def draw(self, state: State, rows: int, stream: Stream) -> torch.Tensor:
        """Rows of the fitted distribution, [R, rows, 1]."""
        standard = stream.numpy().exponential(size=(len(state["mean"]), rows, 1))
        return torch.from_numpy(standard) * state["mean"][:, None, None]

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """The mean of the rows [R, rows, 1]; ``weights`` [rows] or [R, rows] have mean 1, None weighs all the same."""
        weighted = data if weights is None else data * weights[..., None]
        return Fitted({"mean": weighted.mean(dim=(1, 2))})

    def measure(self, states: State, first: State, streams: Sequence[Stream]) -> Mapping[str, torch.Tensor]:
        """``relative_mean``: fitted over true mean, [T, R]; ``log_drift``: its logarithm since generation 0, [T, R]."""
        means = states["mean"]
        return {"relative_mean": means / self._data.mean, "log_drift": (means / first["mean"]).log()}
