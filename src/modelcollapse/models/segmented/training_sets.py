"""Training sets of a batch of replicates, composed as the regime says of whole samples or of sufficient statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np
import torch

from modelcollapse.models.segmented.estimator import Estimator, Fitted, State, StatisticsEstimator
from modelcollapse.regimes import (
    REAL,
    Draw,
    RegimeSettings,
    Source,
    compose,
    count_rows,
    fresh_rows,
    rows_of,
    synthetic_rows,
)
from modelcollapse.seeding import Stream

RowSet = Any
"""A set of rows of all replicates, as a representation has it: a tensor [R, rows, d], or a State of statistics."""


@dataclass(frozen=True)
class TrainingSet:
    """D_t of a batch of replicates."""

    generation: int
    rows: RowSet
    weights: torch.Tensor | None
    """Weight of each row, mean 1; None weighs all the same."""


class Representation(Protocol):
    """What a set of rows is made of: the rows themselves, or what a fit sees of them."""

    def real(self, rows: int, stream: Stream) -> RowSet:
        """A set of the true distribution."""
        ...

    def draw(self, state: State, rows: int, stream: Stream) -> RowSet:
        """A set of a fitted distribution."""
        ...

    def union(
        self, draws: Sequence[Draw], counts: Sequence[int], sets: Mapping[Source, RowSet]
    ) -> tuple[RowSet, torch.Tensor | None]:
        """The rows that the draws take out of the sets, ``counts`` of each, and their weights."""
        ...

    def fit(self, training_set: TrainingSet, previous: State | None, stream: Stream) -> Fitted:
        """The estimator's fit."""
        ...


class Samples:
    """Sets as tensors [R, rows, d]; each replicate draws rows of its own, all from the stream of the draw."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self.real, self.draw = estimator.real, estimator.draw

    def union(
        self, draws: Sequence[Draw], counts: Sequence[int], sets: Mapping[Source, RowSet]
    ) -> tuple[RowSet, torch.Tensor | None]:
        """The rows, [R, rows, d], and their weights, [rows]."""
        parts = [
            _drawn(_joined([sets[source] for source in draw.sources]), draw.stream, count)
            for draw, count in zip(draws, counts, strict=True)
        ]
        return _joined(parts), _weights(draws, counts)

    def fit(self, training_set: TrainingSet, previous: State | None, stream: Stream) -> Fitted:
        """The fit to the rows."""
        return self._estimator.fit(training_set.rows, training_set.weights, previous, stream)


class Statistics:
    """Sets as sufficient statistics; knows whole sets of equal rows only."""

    def __init__(self, estimator: StatisticsEstimator) -> None:
        self._estimator = estimator
        self.real, self.draw = estimator.real_statistics, estimator.draw_statistics
        self._pooled: tuple[tuple[Source, ...], State] | None = None

    def union(
        self, draws: Sequence[Draw], counts: Sequence[int], sets: Mapping[Source, RowSet]
    ) -> tuple[RowSet, torch.Tensor | None]:
        """The statistics of all sets together; a pool that grows by a set is added to, not added up anew."""
        if any(draw.stream is not None or draw.weight is not None for draw in draws):
            raise ValueError("statistics tell of whole sets of equal rows only")
        sources = tuple(source for draw in draws for source in draw.sources)
        known, pooled = self._pooled or ((), None)
        if pooled is None or sources[: len(known)] != known:
            known, pooled = sources[:1], sets[sources[0]]
        rest = [sets[source] for source in sources[len(known) :]]
        # Always added up from the oldest on, so that a restarted chain rounds as an unbroken one.
        self._pooled = sources, reduce(self._estimator.pool_statistics, rest, pooled)
        return self._pooled[1], None

    def fit(self, training_set: TrainingSet, previous: State | None, stream: Stream) -> Fitted:
        """The fit to the statistics."""
        return self._estimator.fit_statistics(training_set.rows, previous, stream)


class TrainingSets:
    """Composes the training sets of a chain out of sets that are drawn when first needed and kept while in reach.

    Every set follows from a state and a stream: one that is asked for again, in this process or after a restart, is the
    same to the bit.
    """

    def __init__(self, representation: Representation, regime: RegimeSettings, seed: int, rows: int) -> None:
        self._representation, self._regime, self._seed, self._rows = representation, regime, seed, rows
        self._kept: dict[Source, RowSet] = {}

    def compose(self, generation: int, states: Mapping[int, State]) -> TrainingSet:
        """D_t for t = ``generation``; ``states`` holds every earlier generation that it draws from."""
        draws = compose(self._regime, generation, self._seed)
        sources = [source for draw in draws for source in draw.sources]
        self._kept = {
            source: self._kept[source] if source in self._kept else self._made(source, states) for source in sources
        }
        counts = count_rows(draws, {source: self._size(source) for source in sources}, self._rows)
        rows, weights = self._representation.union(draws, counts, self._kept)
        return TrainingSet(generation, rows, weights)

    def _made(self, source: Source, states: Mapping[int, State]) -> RowSet:
        rows = self._size(source)
        if source.kind == "synthetic" and source.generation is not None:
            stream = Stream(self._seed, source.generation, "synthesis")
            return self._representation.draw(states[source.generation], rows, stream)
        return self._representation.real(rows, Stream(self._seed, source.generation or 0, source.kind))

    def _size(self, source: Source) -> int:
        if source == REAL or source.generation is None:
            return self._rows
        if source.kind == "fresh":
            return fresh_rows(self._regime, self._rows)
        return rows_of(synthetic_rows(self._regime, source.generation), self._rows)


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def _drawn(rows: torch.Tensor, stream: Stream | None, count: int) -> torch.Tensor:
    """``count`` of the rows of each replicate without replacement, or all where nothing is random."""
    if stream is None:
        return rows
    # As in regimes.resolve, whose choice is that of the first replicate: the rows with the smallest random keys.
    keys = stream.numpy().bit_generator.random_raw(rows.shape[0] * rows.shape[1]).reshape(rows.shape[:2])
    chosen = torch.from_numpy(np.argpartition(keys, count - 1, axis=1)[:, :count])
    return rows.gather(1, chosen[:, :, None].expand(-1, -1, rows.shape[2]))


def _weights(draws: Sequence[Draw], counts: Sequence[int]) -> torch.Tensor | None:
    if all(draw.weight is None for draw in draws):
        return None
    total = sum(counts)
    shares = [1.0 if draw.weight is None else draw.weight * total / n for draw, n in zip(draws, counts, strict=True)]
    return torch.cat([torch.full((n,), share, dtype=torch.float64) for n, share in zip(counts, shares, strict=True)])
