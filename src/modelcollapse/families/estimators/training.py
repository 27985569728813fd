"""The training sets of cheap generations, and the Lightning module that advances one generation an epoch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from safetensors.torch import save_file

from modelcollapse.edits.applying import edited
from modelcollapse.edits.settings import NO_EDIT, is_edited
from modelcollapse.families.base import Span
from modelcollapse.families.estimators.diets import Diets
from modelcollapse.families.estimators.estimator import (
    MEASURES_FILE,
    Estimator,
    Fitted,
    SegmentStates,
    State,
    StatisticsEstimator,
)
from modelcollapse.families.estimators.merging import merged_state
from modelcollapse.families.estimators.stages import StageContext
from modelcollapse.merges.settings import NO_MERGE
from modelcollapse.regimes import Draw, Regime, Source, compose, count_rows, held_rows
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext
from modelcollapse.training.progress import BatchProgress, stage_bar
from modelcollapse.training.trainer import Execution

RowSet = Any
"""A set of rows of all replicates, as a representation has it: a tensor [R, rows, d], WeighedRows, or a State of
statistics.
"""


class WeighedRows(NamedTuple):
    """Rows that a selection weighed."""

    rows: torch.Tensor
    """[R, rows, d]."""
    weights: torch.Tensor | None
    """[R, rows] with mean 1; None where all rows weigh the same."""


class Selects(Protocol):
    """A selection among what the models of a chain write, see :mod:`modelcollapse.families.estimators.selecting`."""

    def select(self, generation: int, states: Mapping[int, State]) -> Any:
        """The ``rows`` [R, rows, d] that are kept of a model's set, and their ``weights`` [R, rows] or None."""
        ...


@dataclass(frozen=True)
class TrainingSet:
    """D_t of a batch of replicates."""

    generation: int
    rows: RowSet
    weights: torch.Tensor | None
    """Weight of each row, [rows] or [R, rows] with mean 1; None weighs all the same."""


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

    def ordered_union(self, draws: Sequence[Draw], counts: Sequence[int], sets: Mapping[Source, RowSet]) -> RowSet:
        """The rows of the union in an order that no processor decides, so that rows can be drawn from it in turn."""
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
        """The rows, [R, rows, d], and their weights, [rows], or [R, rows] where a selection weighed some of them."""
        rows, factors = self._union(draws, counts, sets)
        weights = _weights(draws, counts)
        return rows, weights if factors is None else factors if weights is None else factors * weights

    def ordered_union(self, draws: Sequence[Draw], counts: Sequence[int], sets: Mapping[Source, RowSet]) -> RowSet:
        """The rows, [R, rows, d], those of each draw in the order of the sets that it takes them from."""
        union = self._union(draws, counts, sets, ordered=True)
        return union.rows if union.weights is None else union

    def _union(
        self, draws: Sequence[Draw], counts: Sequence[int], sets: Mapping[Source, RowSet], *, ordered: bool = False
    ) -> WeighedRows:
        """The rows, and what those of each draw weigh beside each other, mean 1 over the rows of a draw."""
        parts = [
            _drawn(_end_to_end([sets[source] for source in draw.sources]), draw.stream, count, ordered=ordered)
            for draw, count in zip(draws, counts, strict=True)
        ]
        return _end_to_end([part._replace(weights=_scaled(part.weights)) for part in parts])

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
            raise ValueError("statistics describe whole sets of equal rows only")
        sources = tuple(source for draw in draws for source in draw.sources)
        known, pooled = self._pooled or ((), None)
        if pooled is None or sources[: len(known)] != known:
            known, pooled = sources[:1], sets[sources[0]]
        rest = [sets[source] for source in sources[len(known) :]]
        # Always added up from the oldest on, so that a restarted chain rounds as an unbroken one.
        self._pooled = sources, reduce(self._estimator.pool_statistics, rest, pooled)
        return self._pooled[1], None

    def ordered_union(self, draws: Sequence[Draw], counts: Sequence[int], sets: Mapping[Source, RowSet]) -> RowSet:
        """Raises ValueError: no rows can be drawn from statistics."""
        raise ValueError("statistics hold no rows that could be used again")

    def fit(self, training_set: TrainingSet, previous: State | None, stream: Stream) -> Fitted:
        """The fit to the statistics."""
        return self._estimator.fit_statistics(training_set.rows, previous, stream)


class TrainingSets:
    """Composes the training sets of a chain out of sets that are drawn when first needed and kept while in reach.

    Every set follows from a state and a stream: one that is asked for again, in this process or after a restart, is the
    same to the bit.
    """

    def __init__(
        self,
        representation: Representation,
        regime: Regime,
        seed: int,
        rows: int,
        selects: Selects | None = None,
        diets: Diets | None = None,
        edit: Choice = NO_EDIT,
    ) -> None:
        """``selects`` chooses among the rows of a model; ``diets`` of a population say whose rows stand for S_t."""
        self._representation, self._regime, self._seed, self._rows = representation, regime, seed, rows
        self._selects, self._diets, self._edit = selects, diets, edit
        self._edited: tuple[int, RowSet] | None = None
        """A generation and the rows that its model has edited."""
        self._kept: dict[Source, RowSet] = {}
        self._reused: tuple[int, RowSet] | None = None
        """A generation and the rows that it was trained on, in order, where a later one draws from them."""

    def compose(self, generation: int, draws: Sequence[Draw], states: Mapping[int, State]) -> TrainingSet:
        """D_t for t = ``generation`` of its draws; ``states`` holds every earlier generation that these draw from."""
        # Before what is kept changes: the training set before this one is of the sets that are kept now.
        reused = self._reused_sets(draws, states)
        self._kept = self._sets(draws, states)
        rows, weights = self._representation.union(draws, self._counts(draws), {**self._kept, **reused})
        return TrainingSet(generation, rows, weights)

    def _sets(self, draws: Sequence[Draw], states: Mapping[int, State]) -> dict[Source, RowSet]:
        """The sets that the draws take rows from, but for training sets."""
        sources = [source for draw in draws if draw.reused is None for source in draw.sources]
        return {
            source: self._kept[source] if source in self._kept else self._made(source, states) for source in sources
        }

    def _counts(self, draws: Sequence[Draw]) -> list[int]:
        return count_rows(draws, {source: self._size(source) for draw in draws for source in draw.sources}, self._rows)

    def _reused_sets(self, draws: Sequence[Draw], states: Mapping[int, State]) -> dict[Source, RowSet]:
        """The rows of the training set that the draws take rows from, if there is one."""
        last = _reused_generation(draws)
        if last is None:
            return {}
        for generation, composition in self._compositions_back_from(last):
            before = {} if self._reused is None else {Source("training", self._reused[0]): self._reused[1]}
            self._kept = self._sets(composition, states)
            rows = self._representation.ordered_union(composition, self._counts(composition), {**self._kept, **before})
            self._reused = generation, rows
        assert self._reused is not None
        return {Source("training", last): self._reused[1]}

    def _compositions_back_from(self, generation: int) -> list[tuple[int, Sequence[Draw]]]:
        """What must be composed to have a training set, oldest first: all since the one at hand, or since the first."""
        found: list[tuple[int, Sequence[Draw]]] = []
        wanted: int | None = generation
        while wanted is not None and (self._reused is None or self._reused[0] != wanted):
            draws = compose(self._regime, wanted, self._seed)
            found.append((wanted, draws))
            wanted = _reused_generation(draws)
        return found[::-1]

    def _made(self, source: Source, states: Mapping[int, State]) -> RowSet:
        rows = self._size(source)
        if source.kind == "synthetic" and source.generation is not None:
            if is_edited(self._edit):
                return self.edited(source.generation, states)
            if self._selects is not None:
                kept = self._selects.select(source.generation, states)
                return kept.rows if kept.weights is None else WeighedRows(kept.rows, kept.weights)
            stream = Stream(self._seed, source.generation, "synthesis")
            written = self._representation.draw(states[source.generation], rows, stream)
            return written if self._diets is None else self._diets.of_written(written, source.generation)
        real = self._representation.real(rows, Stream(self._seed, source.generation or 0, source.kind))
        return real if self._diets is None or source.kind != "real" else self._diets.of_real(real)

    def edited(self, generation: int, states: Mapping[int, State]) -> RowSet:
        """The real rows as the models of generations 0 to ``generation`` have edited them, one after the other."""
        last, rows = self._edited or (-1, None)
        if rows is None or last > generation:
            last, rows = -1, self._representation.real(self._rows, Stream(self._seed, 0, "real"))
        for number in range(last + 1, generation + 1):
            written = self._representation.draw(states[number], self._rows, Stream(self._seed, number, "synthesis"))
            stream = Stream(self._seed, number, "editing")
            rows = edited(self._edit, rows, written=written, generation=number, stream=stream).rows
        self._edited = generation, rows
        return rows

    def _size(self, source: Source) -> int:
        return held_rows(source, self._regime, self._rows)


def _reused_generation(draws: Sequence[Draw]) -> int | None:
    """The generation whose training set the draws take rows from."""
    return next((draw.reused.generation for draw in draws if draw.reused is not None), None)


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def _end_to_end(sets: Sequence[RowSet]) -> WeighedRows:
    """The rows of some sets one after another, each with its weight where a set has weights."""
    parts = [each if isinstance(each, WeighedRows) else WeighedRows(each, None) for each in sets]
    rows = _joined([part.rows for part in parts])
    if all(part.weights is None for part in parts):
        return WeighedRows(rows, None)
    ones = [torch.ones(part.rows.shape[:2], dtype=torch.float64) for part in parts]
    return WeighedRows(
        rows, _joined([one if part.weights is None else part.weights for part, one in zip(parts, ones, strict=True)])
    )


def _scaled(weights: torch.Tensor | None) -> torch.Tensor | None:
    """The weights with mean 1 in each replicate."""
    return None if weights is None else weights / weights.mean(1, keepdim=True)


def _drawn(union: WeighedRows, stream: Stream | None, count: int, *, ordered: bool) -> WeighedRows:
    """``count`` of the rows of each replicate without replacement, or all where nothing is random.

    What is ``ordered`` keeps the order of the rows; else it is that of the partition, which a processor decides.
    """
    if stream is None:
        return union
    # As in regimes.resolve, whose choice is that of the first replicate: the rows with the smallest random keys.
    rows, weights = union
    keys = stream.numpy().bit_generator.random_raw(rows.shape[0] * rows.shape[1]).reshape(rows.shape[:2])
    places = np.argpartition(keys, count - 1, axis=1)[:, :count]
    chosen = torch.from_numpy(np.sort(places, axis=1) if ordered else places)
    return WeighedRows(
        rows.gather(1, chosen[:, :, None].expand(-1, -1, rows.shape[2])),
        None if weights is None else weights.gather(1, chosen),
    )


def _weights(draws: Sequence[Draw], counts: Sequence[int]) -> torch.Tensor | None:
    if all(draw.weight is None for draw in draws):
        return None
    total = sum(counts)
    shares = [1.0 if draw.weight is None else draw.weight * total / n for draw, n in zip(draws, counts, strict=True)]
    return torch.cat([torch.full((n,), share, dtype=torch.float64) for n, share in zip(counts, shares, strict=True)])


BATCH_GENERATIONS = 10
"""Generations a batch: what Lightning does for each batch takes as long as a tenth of a cheap generation."""
MEASURED_TOGETHER = 256
"""Mixtures, Gaussians, ... that are measured in one go, of all replicates: enough of them to hide the calls."""


class GenerationsModule(LightningModule):
    """Fits generation after generation, and merges what is to be merged; no gradients are involved."""

    def __init__(
        self,
        estimator: Estimator,
        representation: Representation,
        seed: int,
        states: Mapping[int, State],
        merge: Choice = NO_MERGE,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._estimator, self._representation, self._seed, self._merge = estimator, representation, seed, merge
        self.states: dict[int, State] = dict(states)
        """Generation -> parameters, those of earlier segments included."""
        self.fits: dict[int, Fitted] = {}
        """Generation -> what this fit gave, in order."""

    def configure_optimizers(self) -> None:
        """None: an estimator has no gradients."""

    def training_step(self, batch: Iterable[TrainingSet], batch_index: int) -> None:
        """Fit generations to their training sets, each composed when the one before is fitted."""
        for training_set in batch:
            generation = training_set.generation
            stream = Stream(self._seed, generation, "fit")
            fitted = self._representation.fit(training_set, self.states.get(generation - 1), stream)
            self.fits[generation] = fitted
            self.states[generation] = merged_state(
                self._merge, self._estimator, self._seed, generation, fitted.state, self.states
            )


class GenerationsDataModule(LightningDataModule):
    """Serves the training sets of consecutive generations, in batches that compose each when it is asked for."""

    def __init__(
        self, module: GenerationsModule, training_sets: TrainingSets, compositions: Mapping[int, Sequence[Draw]]
    ) -> None:
        """``compositions``: what each of the generations is trained on, in their order."""
        super().__init__()
        self._module, self._training_sets, self._compositions = module, training_sets, compositions
        generations = list(compositions)
        self._batches = [
            generations[place : place + BATCH_GENERATIONS] for place in range(0, len(generations), BATCH_GENERATIONS)
        ]

    def train_dataloader(self) -> "GenerationsDataModule":
        """The data module itself."""
        return self

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Iterator[TrainingSet]]:
        return map(self._composed, self._batches)

    def _composed(self, generations: Sequence[int]) -> Iterator[TrainingSet]:
        return (
            self._training_sets.compose(generation, self._compositions[generation], self._module.states)
            for generation in generations
        )

    def transfer_batch_to_device(
        self, batch: Iterator[TrainingSet], device: torch.device, dataloader_idx: int
    ) -> Iterator[TrainingSet]:
        """The batch where it is: estimator families compute on the CPU."""
        return batch


def fit_generations(
    stage: StageContext, context: BuildContext, span: Span, compositions: Mapping[int, Sequence[Draw]]
) -> None:
    """Fit a span of generations with Lightning, and write their parameters and how the fits went."""
    states = _states(context.parents.values())
    module = GenerationsModule(stage.estimator, stage.representation, stage.seed, states, stage.merge)
    data = GenerationsDataModule(module, stage.training_sets, compositions)
    execution: Execution = stage.execution
    with stage_bar(context.artifact.label, len(data), execution) as bar:
        execution.trainer([BatchProgress(bar)], epochs=1).fit(module, datamodule=data)
    found = stacked([module.states[generation] for generation in span])
    diagnostics = stacked([fitted.diagnostics for fitted in module.fits.values()])
    SegmentStates(span.first, found, diagnostics).write(context.folder)
    context.execution.update(execution.facts(replicates=stage.replicates))


def measure_generations(stage: StageContext, context: BuildContext) -> None:
    """Measure the generations of a segment, and write what was measured, each [T, R]."""
    segment, start = (SegmentStates.read(context.parents[role]) for role in ("model", "start"))
    save_file(measured(stage.estimator, stage.seed, segment, start.state(0)), context.folder / MEASURES_FILE)
    context.execution.update(stage.execution.facts(replicates=stage.replicates))


def _states(folders: Iterable[Path]) -> dict[int, State]:
    segments = [SegmentStates.read(folder) for folder in folders]
    return {generation: segment.state(generation) for segment in segments for generation in segment.generations}


def stacked(generations: Sequence[State]) -> dict[str, torch.Tensor]:
    """Tensors of generations that follow each other, each [T, ...]."""
    return {name: torch.stack([tensors[name] for tensors in generations]) for name in generations[0]}


def measured(estimator: Estimator, seed: int, segment: SegmentStates, first: State) -> dict[str, torch.Tensor]:
    """What the estimator measures of a segment, name -> [T, R]; ``first`` is generation 0's state.

    Many generations are measured in one go: what is found of one does not depend on the others beside it.
    """
    generations = segment.generations
    size = max(1, MEASURED_TOGETHER // _replicates(first))
    groups = [generations[place : place + size] for place in range(0, len(generations), size)]
    found = [_measured(estimator, seed, segment, first, group) for group in groups]
    return {name: torch.cat([measures[name] for measures in found]) for name in found[0]}


def _measured(
    estimator: Estimator, seed: int, segment: SegmentStates, first: State, generations: range
) -> Mapping[str, torch.Tensor]:
    part = slice(generations.start - segment.first, generations.stop - segment.first)
    states = {name: tensor[part] for name, tensor in segment.states.items()}
    return estimator.measure(states, first, [Stream(seed, generation, "measure") for generation in generations])


def _replicates(state: State) -> int:
    return len(next(iter(state.values())))
