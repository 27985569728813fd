"""What a segmented family supplies: how its distribution is fitted, drawn from and measured, for many replicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from modelcollapse.errors import FitFailed
from modelcollapse.seeding import Stream

__all__ = ["Estimator", "FitFailed", "Fitted", "State", "StatisticsEstimator"]

State = Mapping[str, torch.Tensor]
"""Parameters of R replicates by name, each tensor [R, ...]; float64, or int64 for counts."""


@dataclass(frozen=True)
class Fitted:
    """What a fit gives."""

    state: State
    """The fitted parameters."""
    diagnostics: State = field(default_factory=dict)
    """How the fit went, each [R]: iterations, log-likelihood, whether it converged; recorded beside the measures."""


class Estimator(Protocol):
    """One family for a batch of R independent replicates.

    Every method is a pure function of its arguments: what is random comes from the stream alone, one stream for the
    whole batch, so a set can be drawn again from its state instead of being stored.
    """

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """Samples of the true distribution, [R, rows, d]."""
        ...

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """The parameters estimated from ``data`` [R, rows, d].

        ``weights`` [rows] have mean 1, None weighs all rows the same; ``previous`` is the state of the generation
        before, None for generation 0; ``stream.generation`` is the generation that is fitted. Raises FitFailed.
        """
        ...

    def draw(self, state: State, rows: int, stream: Stream) -> torch.Tensor:
        """Samples of the fitted distribution, [R, rows, d]."""
        ...

    def measure(self, states: State, first: State, streams: Sequence[Stream]) -> Mapping[str, torch.Tensor]:
        """What is recorded of T generations, flat metric name -> [T, R].

        ``states`` are theirs, each [T, R, ...], ``first`` is that of generation 0; a stream each. What is found of a
        generation does not depend, to the bit, on the others that are measured with it.
        """
        ...


class StatisticsEstimator(Estimator, Protocol):
    """An estimator that sees of its training set sufficient statistics only, and can draw these without the samples."""

    def real_statistics(self, rows: int, stream: Stream) -> State:
        """Statistics of ``rows`` samples of the true distribution."""
        ...

    def draw_statistics(self, state: State, rows: int, stream: Stream) -> State:
        """Statistics of ``rows`` samples of the fitted distribution, exact in distribution."""
        ...

    def pool_statistics(self, left: State, right: State) -> State:
        """Statistics of the union of two sets."""
        ...

    def fit_statistics(self, statistics: State, previous: State | None, stream: Stream) -> Fitted:
        """What ``fit`` gives for the set that the statistics are of."""
        ...
