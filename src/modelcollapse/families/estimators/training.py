"""The training sets of cheap generations, and the Lightning module that advances one generation an epoch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

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
    SELECTION_FILE,
    Estimator,
    Fitted,
    SegmentStates,
    State,
    StatisticsEstimator,
)
from modelcollapse.families.estimators.merging import merged_state
from modelcollapse.families.estimators.row_sets import WeighedRows, end_to_end
from modelcollapse.families.estimators.stages import StageContext
from modelcollapse.merges.settings import NO_MERGE
from modelcollapse.regimes import Draw, Regime, Source, compose, count_rows, held_rows
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext
from modelcollapse.training.progress import stage_bar
from modelcollapse.training.trainer import Execution

RowSet = Any
"""A set of rows of all replicates, as a representation has it: a tensor [R, rows, d], WeighedRows, or a State of
statistics.
"""


class Selects(Protocol):
    """A selection among what the models of a chain write, see :mod:`modelcollapse.families.estimators.selecting`."""

    def select(self, generation: int, states: Mapping[int, State]) -> Any:
        """What is kept of a model's set, its ``rows`` WeighedRows."""
        ...


class SelectsOfSets(Protocol):
    """A selection among the rows of training sets, of generations 1, 2, ..."""

    def select_training_set(self, generation: int, training_set: WeighedRows, states: Mapping[int, State]) -> Any:
        """What is kept of D_t, its ``rows`` WeighedRows, and ``measures`` of the choice, [R] each."""
        ...


@dataclass(frozen=True)
class TrainingSet:
    """D_t of a batch of replicates."""

    generation: int
    rows: RowSet
    weights: torch.Tensor | None
    """Weight of each row, [rows] or [R, rows] with mean 1; None weighs all the same."""
    selected: State | None = None
    """Where rows were selected of it, what was kept, [R] each."""


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
        rows, factors, _ = self._union(draws, counts, sets)
        weights = _weights(draws, counts)
        return rows, weights if factors is None else factors if weights is None else factors * weights

    def ordered_union(self, draws: Sequence[Draw], counts: Sequence[int], sets: Mapping[Source, RowSet]) -> RowSet:
        """The rows, [R, rows, d], those of each draw in the order of the sets that it takes them from."""
        union = self._union(draws, counts, sets, ordered=True)
        return union.rows if union[1:] == (None, None) else union

    def _union(
        self, draws: Sequence[Draw], counts: Sequence[int], sets: Mapping[Source, RowSet], *, ordered: bool = False
    ) -> WeighedRows:
        """The rows, and what those of each draw weigh beside each other, mean 1 over the rows of a draw."""
        parts = [
            _drawn(end_to_end([sets[source] for source in draw.sources]), draw.stream, count, ordered=ordered)
            for draw, count in zip(draws, counts, strict=True)
        ]
        return end_to_end([part.scaled() for part in parts])

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
        *,
        selects: Selects | None = None,
        selects_of_sets: SelectsOfSets | None = None,
        kept: float = 1.0,
        diets: Diets | None = None,
        edit: Choice = NO_EDIT,
    ) -> None:
        """``selects`` chooses among the rows of a model, ``selects_of_sets`` among those of a training set, of which it
        keeps ``kept`` times as many; ``diets`` of a population say whose rows stand for S_t.
        """
        self._representation, self._regime, self._seed, self._rows = representation, regime, seed, rows
        self._selects, self._selects_of_sets, self._kept_share = selects, selects_of_sets, kept
        self._diets, self._edit = diets, edit
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
        sets = {**self._kept, **reused}
        if generation and self._selects_of_sets is not None:
            rows, measures = self._selected(generation, draws, sets, states)
            if reused:
                # The next one draws from this one, which is not selected twice.
                self._reused = generation, rows._replace(weights=None)
            return TrainingSet(generation, rows.rows, rows.weights, measures)
        rows, weights = self._representation.union(draws, self._counts(draws), sets)
        return TrainingSet(generation, rows, weights)

    def _selected(
        self, generation: int, draws: Sequence[Draw], sets: Mapping[Source, RowSet], states: Mapping[int, State]
    ) -> tuple[WeighedRows, State]:
        """What is kept of the training set of t >= 1, and measures of the choice."""
        assert self._selects_of_sets is not None
        counts, of_kinds = self._counts(draws), {source: _of_kind(source, rows) for source, rows in sets.items()}
        union: WeighedRows = self._representation.ordered_union(draws, counts, of_kinds)
        weights = _weights(draws, counts)
        weighed = union.times(None if weights is None else weights.expand(union.rows.shape[:2]))
        kept = self._selects_of_sets.select_training_set(generation, weighed, states)
        return kept.rows, kept.measures

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
            self._reused = generation, self._trained_on(generation, composition, {**self._kept, **before}, states)
        assert self._reused is not None
        return {Source("training", last): self._reused[1]}

    def _trained_on(
        self, generation: int, draws: Sequence[Draw], sets: Mapping[Source, RowSet], states: Mapping[int, State]
    ) -> RowSet:
        """The rows of D_t, in order, those that are kept where a selection chooses, whatever they weigh there."""
        if self._selects_of_sets is None:
            return self._representation.ordered_union(draws, self._counts(draws), sets)
        return self._selected(generation, draws, sets, states)[0]._replace(weights=None)

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
                written = _plain(self._selects.select(source.generation, states).rows)
            else:
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
        return held_rows(source, self._regime, self._rows, self._kept_share)


def _reused_generation(draws: Sequence[Draw]) -> int | None:
    """The generation whose training set the draws take rows from."""
    return next((draw.reused.generation for draw in draws if draw.reused is not None), None)


def _plain(rows: WeighedRows) -> RowSet:
    """The rows alone, where nothing is known of them."""
    return rows.rows if rows.weights is None else rows


def _of_kind(source: Source, rows: RowSet) -> WeighedRows:
    """The rows of a set, which know whether they are synthetic."""
    known = end_to_end([rows])
    if known.is_synthetic is not None:
        return known
    return known._replace(is_synthetic=torch.full(known.rows.shape[:2], source.kind == "synthetic"))


def _drawn(union: WeighedRows, stream: Stream | None, count: int, *, ordered: bool) -> WeighedRows:
    """``count`` of the rows of each replicate without replacement, or all where nothing is random.

    What is ``ordered`` keeps the order of the rows; else it is that of the partition, which a processor decides.
    """
    if stream is None:
        return union
    # As in regimes.resolve, whose choice is that of the first replicate: the rows with the smallest random keys.
    replicates, held = union.rows.shape[:2]
    keys = stream.numpy().bit_generator.random_raw(replicates * held).reshape(replicates, held)
    places = np.argpartition(keys, count - 1, axis=1)[:, :count]
    return union.at(torch.from_numpy(np.sort(places, axis=1) if ordered else places))


def _weights(draws: Sequence[Draw], counts: Sequence[int]) -> torch.Tensor | None:
    if all(draw.weight is None for draw in draws):
        return None
    total = sum(counts)
    shares = [1.0 if draw.weight is None else draw.weight * total / n for draw, n in zip(draws, counts, strict=True)]
    return torch.cat([torch.full((n,), share, dtype=torch.float64) for n, share in zip(counts, shares, strict=True)])


BATCH_GENERATIONS = 100
"""Generations a batch: what Lightning does for each batch takes as long as a third of a cheap generation."""
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
        on_generation: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_generation`` is called after each."""
        super().__init__()
        self.automatic_optimization = False
        self._estimator, self._representation, self._seed, self._merge = estimator, representation, seed, merge
        self._on_generation = on_generation
        self.states: dict[int, State] = dict(states)
        """Generation -> parameters, those of earlier segments included."""
        self.fits: dict[int, Fitted] = {}
        """Generation -> what this fit gave, in order."""
        self.selections: list[State] = []
        """What was kept of the training set of each generation, where rows of them are selected, [R] each."""

    def configure_optimizers(self) -> None:
        """None: an estimator has no gradients."""

    def training_step(self, batch: Iterable[TrainingSet], batch_index: int) -> None:
        """Fit generations to their training sets, each composed when the one before is fitted."""
        for training_set in batch:
            generation = training_set.generation
            stream = Stream(self._seed, generation, "fit")
            fitted = self._representation.fit(training_set, self.states.get(generation - 1), stream)
            self.selections += [] if training_set.selected is None else [training_set.selected]
            self.fits[generation] = fitted
            self.states[generation] = merged_state(
                self._merge, self._estimator, self._seed, generation, fitted.state, self.states
            )
            self._on_generation()

    def forget(self) -> None:
        """Hold none of the parameters any more."""
        self.states.clear()
        self.fits.clear()


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
    execution: Execution = stage.execution
    with stage_bar(context.artifact.label, len(compositions), execution) as bar:
        module = GenerationsModule(stage.estimator, stage.representation, stage.seed, states, stage.merge, bar.advance)
        data = GenerationsDataModule(module, stage.training_sets, compositions)
        execution.trainer((), epochs=1).fit(module, datamodule=data)
    found = stacked([module.states[generation] for generation in span])
    diagnostics = stacked([fitted.diagnostics for fitted in module.fits.values()])
    # Lightning's trainer refers to it in circles, which are looked for seldom.
    module.forget()
    SegmentStates(span.first, found, diagnostics).write(context.folder)
    if module.selections:
        save_file(stacked(module.selections), context.folder / SELECTION_FILE)
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
