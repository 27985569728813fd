"""The interface of an estimator: fit, sample and measure a distribution, for a batch of replicates."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from modelcollapse.errors import FitFailed
from modelcollapse.seeding import Stream

__all__ = ["Estimator", "FitFailed", "Fitted", "MergeableEstimator", "State", "StatisticsEstimator"]

State = Mapping[str, torch.Tensor]
"""Parameters of R replicates by name, each tensor [R, ...]; float64, or int64 for counts."""


@dataclass(frozen=True)
class Fitted:
    """The result of a fit."""

    state: State
    """The fitted parameters."""
    diagnostics: State = field(default_factory=dict)
    """How the fit went, each [R]: iterations, log-likelihood, whether it converged; recorded beside the measures."""


class Estimator(Protocol):
    """An estimator of a family of distributions, for a batch of R independent replicates.

    Every method is a pure function of its arguments: what is random comes from the stream alone, one stream for the
    whole batch, so a set can be drawn again from its state instead of being stored.
    """

    @property
    def true(self) -> State:
        """Parameters of the true distribution, by name, without replicates: what metrics may compare with."""
        ...

    def real(self, rows: int, stream: Stream) -> torch.Tensor:
        """Samples of the true distribution, [R, rows, d]."""
        ...

    def fit(self, data: torch.Tensor, weights: torch.Tensor | None, previous: State | None, stream: Stream) -> Fitted:
        """The parameters estimated from ``data`` [R, rows, d].

        ``weights`` [rows], or [R, rows] where replicates weigh their rows apart, have mean 1, None weighs all rows the
        same; ``previous`` is the state of the generation
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
    """An estimator that needs sufficient statistics only, and can draw them without drawing the samples."""

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


class MergeableEstimator(Estimator, Protocol):
    """An estimator whose fits can be merged: each is a point in one space of parameters."""

    def parameters(self, state: State) -> State:
        """The numbers that a merge computes with, each [R, ...] float64: a mean, a covariance, weights."""
        ...

    def of_parameters(self, parameters: State, previous: State, generation: int) -> State:
        """The state of merged parameters; ``previous`` is that of the generation before.

        Raises FitFailed where they are those of no distribution.
        """
        ...


class LikelihoodEstimator(Estimator, Protocol):
    """An estimator that knows the likelihood of a row: what selections by likelihood ask for."""

    def log_likelihood(self, state: State, data: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods [R, rows] of rows ``data`` [R, rows, d] under the fitted distribution, in nats."""
        ...

    def true_log_likelihood(self, data: torch.Tensor) -> torch.Tensor:
        """The same under the true distribution."""
        ...


class LabelEstimator(Estimator, Protocol):
    """An estimator of labelled rows whose right label is known."""

    def is_right(self, data: torch.Tensor) -> torch.Tensor:
        """Whether the label of each row is the right one, bool [R, rows]."""
        ...


STATES_FILE, DIAGNOSTICS_FILE, MEASURES_FILE = "states.safetensors", "diagnostics.safetensors", "measures.safetensors"
SELECTION_FILE = "selection.safetensors"
GENERATIONS_FILE = "generations.json"
STATISTICS = ("mean", "standard_deviation", "p05", "median", "p95")
"""Statistics over replicates that are recorded for each measure, in this order."""


@dataclass(frozen=True)
class SegmentStates:
    """The fitted parameters of a segment, as its folder holds them."""

    first: int
    """Its first generation."""
    states: State
    """Each [T, R, ...] for the T generations of the segment."""
    diagnostics: State
    """How the fits went, each [T, R]."""

    @classmethod
    def read(cls, folder: Path) -> "SegmentStates":
        """Read a published segment."""
        first = json.loads((folder / GENERATIONS_FILE).read_text(encoding="utf-8"))["first"]
        return cls(first, load_file(folder / STATES_FILE), load_file(folder / DIAGNOSTICS_FILE))

    def write(self, folder: Path) -> None:
        """Write the files into a folder."""
        save_file(dict(self.states), folder / STATES_FILE)
        save_file(dict(self.diagnostics), folder / DIAGNOSTICS_FILE)
        generations = {"first": self.first, "last": self.last}
        (folder / GENERATIONS_FILE).write_text(json.dumps(generations), encoding="utf-8")

    @property
    def last(self) -> int:
        """Its last generation."""
        return self.first + len(next(iter(self.states.values()))) - 1

    @property
    def generations(self) -> range:
        """The numbers of its generations."""
        return range(self.first, self.last + 1)

    def state(self, generation: int) -> State:
        """The parameters of one of its generations, each [R, ...]."""
        return {name: tensor[generation - self.first] for name, tensor in self.states.items()}


@dataclass(frozen=True)
class SegmentFiles(SegmentStates):
    """A finished segment with what was measured of it."""

    measures: Mapping[str, torch.Tensor]
    """Metric -> [T, R], the diagnostics among them."""

    @classmethod
    def of(cls, fitted: SegmentStates, measures: State) -> "SegmentFiles":
        """A segment and its measures, in the order of their names."""
        every = {**fitted.diagnostics, **measures}
        return cls(fitted.first, fitted.states, fitted.diagnostics, {name: every[name] for name in sorted(every)})

    def summary(self, generation: int) -> Mapping[str, float]:
        """``metric/statistic`` -> value, over the replicates of one of its generations."""
        names, rows = self._summary_rows
        return dict(zip(names, rows[generation - self.first].tolist(), strict=True))

    @cached_property
    def _summary_rows(self) -> tuple[list[str], np.ndarray]:
        """``metric/statistic`` of every metric, and their values, a row a generation."""
        names = [f"{name}/{statistic}" for name in self.summaries for statistic in STATISTICS]
        return names, np.concatenate(list(self.summaries.values()), axis=1)

    @cached_property
    def summaries(self) -> Mapping[str, np.ndarray]:
        """Metric -> [T, 5], the STATISTICS of its replicates; the standard deviation of a single one is NaN."""
        return {name: _summary(values) for name, values in self.measures.items()}


def _summary(values: torch.Tensor) -> np.ndarray:
    numbers = values.double().numpy()
    replicates = numbers.shape[1]
    # An infinity among the replicates has a mean and percentiles, but no standard deviation.
    with np.errstate(invalid="ignore"):
        deviation = numbers.std(axis=1, ddof=1) if replicates > 1 else np.full(len(numbers), np.nan)
        percentiles = np.quantile(numbers, (0.05, 0.5, 0.95), axis=1)
    return np.stack([numbers.mean(axis=1), deviation, *percentiles], axis=1)
