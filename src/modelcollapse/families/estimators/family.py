"""The generic segmented family: promises of segments, how they are made, and what the finished ones say.

A family of this kind supplies an Estimator and its figures::

    class MyFamily(EstimatorFamily):
        name = "my_family"
        headline = (("some_measure/mean", "some measure"),)

        def make_estimator(self) -> Estimator: ...
        def present(self, chain: ChainData, title: ChainTitle) -> ChainReport: ...

and settings that inherit from ``settings.segmented.SegmentedSettings``, with ``rows`` among those of the data.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from modelcollapse.config.settings import ChainSettings
from modelcollapse.families.base import ChainReport, ChainTitle, GenerationResult, Segment
from modelcollapse.families.estimators.estimator import (
    MEASURES_FILE,
    STATISTICS,
    Estimator,
    SegmentFiles,
    SegmentStates,
    State,
    StatisticsEstimator,
)
from modelcollapse.families.estimators.training import Samples, Statistics, TrainingSets
from modelcollapse.figures.style import FigureText
from modelcollapse.figures.thinning import shown_generations
from modelcollapse.metrics.base import ChosenMetrics, Input, Subject
from modelcollapse.metrics.computing import replicate_metrics
from modelcollapse.regimes import RegimeSettings, Source, compose, composition_recipe, synthetic_rows
from modelcollapse.seeding import Stream
from modelcollapse.settings import SettingsError, identity_of
from modelcollapse.store import Artifact, BuildContext, canonical_json

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution


SEGMENT, MEASURES = "segment", "measures"
SEGMENT_VERSION, MEASURES_VERSION = 2, 1
"""Raised by hand when the same recipe comes to mean other numbers, whatever the family."""


@dataclass(frozen=True)
class ChainData:
    """A finished chain, for tables and figures."""

    segments: Sequence[SegmentFiles]
    """All its segments, in order."""

    @property
    def generations(self) -> np.ndarray:
        """0 .. N."""
        return np.arange(self.segments[-1].last + 1)

    def measure(self, name: str) -> torch.Tensor:
        """A metric of every generation and replicate, [N + 1, R]."""
        return torch.cat([segment.measures[name] for segment in self.segments])

    def summary(self, name: str) -> Mapping[str, np.ndarray]:
        """Statistic (mean, standard_deviation, p05, median, p95) of a metric's replicates -> [N + 1]."""
        values = np.concatenate([segment.summaries[name] for segment in self.segments])
        return dict(zip(STATISTICS, values.T, strict=True))

    def table(self, expected: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """A row a generation: `measure/statistic` of every measure, `theory/name` of what is expected, [N + 1] each."""
        measured = {
            f"{name}/{statistic}": values
            for name in self.segments[0].measures
            for statistic, values in self.summary(name).items()
        }
        theory = {f"theory/{name}": values for name, values in expected.items()}
        return pd.DataFrame({"generation": self.generations, **measured, **theory})

    def state(self, generation: int) -> State:
        """The parameters of a generation, each [R, ...]."""
        (segment,) = [item for item in self.segments if item.first <= generation <= item.last]
        return segment.state(generation)


class EstimatorFamily(ABC):
    """A segmented family around an Estimator; see modelcollapse.families.base.SegmentedFamily for the contract."""

    name: ClassVar[str]
    headline: ClassVar[Sequence[tuple[str, str]]]
    version: ClassVar[int] = 1
    """Raised by hand when the family's estimator comes to give other numbers for the same settings."""

    def __init__(self, settings: ChainSettings, execution: "Execution") -> None:
        if settings.trainer.accelerator in ("gpu", "mps"):
            raise SettingsError(
                [
                    f"trainer.accelerator: {settings.trainer.accelerator!r} is of no use to"
                    f" model.family={self.name}, which computes in float64 on the CPU; it must be auto or cpu"
                ]
            )
        self.model, self.data, self.regime = settings.model, settings.data, settings.regime
        self.seed, self.generations = settings.seed, settings.generations
        self.title: str = self.model.name
        self.segment_length: int = self.model.segment_length
        # The trainer's own precision would cast what is to stay float64.
        trainer = replace(settings.trainer, accelerator="cpu", precision="32-true")
        self._execution = replace(execution, settings=trainer)
        self._training_sets: dict[RegimeSettings, TrainingSets] = {}
        self._metrics = settings.metrics
        self._files: dict[Path, SegmentFiles] = {}
        self._start: State | None = None

    @abstractmethod
    def make_estimator(self) -> Estimator:
        """The estimator that the settings ask for."""

    @abstractmethod
    def present(self, chain: ChainData, title: ChainTitle) -> ChainReport:
        """Tables, documents and figures of a finished chain."""

    # ---- promises of segments ---------------------------------------------------------------------------------

    def advance(self, first: int, last: int, regime: RegimeSettings, earlier: Sequence[Segment]) -> Artifact:
        """The generations ``first`` to ``last``, as one artifact."""
        needed = _segments_in_reach(first, regime, earlier)
        recipe = {
            "version": SEGMENT_VERSION,
            "family": self.name,
            "family_version": self.version,
            "model": identity_of(self.model),
            "data": identity_of(self.data),
            "stream": Stream(self.seed, 0, SEGMENT).recipe(),
            "generations": [first, last],
            # The first and the last say what lies between: shares do not change within a chain.
            "composition": [_composition(generation, regime, self.seed) for generation in (first, last)],
        }
        make = partial(self._make, first=first, last=last, regime=regime)
        parents = {f"generations_{segment.first}_to_{segment.last}": segment.artifact for segment in needed}
        label = f"generation {first}" if first == last else f"generations {first} to {last}"
        return Artifact(SEGMENT, recipe, parents, make, label)

    def _make(self, context: BuildContext, *, first: int, last: int, regime: RegimeSettings) -> None:
        # What a finished chain needs none of, Lightning first of all.
        from modelcollapse.families.estimators.training import GenerationsDataModule, GenerationsModule, stacked
        from modelcollapse.training.progress import BatchProgress, stage_bar

        module = GenerationsModule(self._estimator, self._representation, self.seed, _states(context.parents.values()))
        generations = range(first, last + 1)
        data = GenerationsDataModule(module, self._sets(regime), generations)
        with stage_bar(context.artifact.label, len(data), self._execution.console) as bar:
            self._execution.trainer([BatchProgress(bar)], epochs=1).fit(module, datamodule=data)
        states = stacked([module.states[generation] for generation in generations])
        diagnostics = stacked([fitted.diagnostics for fitted in module.fits.values()])
        SegmentStates(first, states, diagnostics).write(context.folder)
        context.execution.update(self._execution.facts(replicates=self.model.replicates))

    def measures(self, segment: Segment, start: Segment) -> Artifact:
        """What is measured of the generations of a segment; ``start`` is that of generation 0."""
        recipe = {"version": MEASURES_VERSION, "stream": Stream(self.seed, 0, "measure").recipe()}
        parents = {SEGMENT: segment.artifact, "start": start.artifact}
        return Artifact(MEASURES, recipe, parents, self._make_measures, f"{segment.artifact.label} · measuring")

    def _make_measures(self, context: BuildContext) -> None:
        from modelcollapse.families.estimators.training import measured

        segment, start = (SegmentStates.read(context.parents[role]) for role in (SEGMENT, "start"))
        save_file(measured(self._estimator, self.seed, segment, start.state(0)), context.folder / MEASURES_FILE)
        context.execution.update(self._execution.facts(replicates=self.model.replicates))

    def _sets(self, regime: RegimeSettings) -> TrainingSets:
        """The training sets of the chain; kept from segment to segment, for the sets that they hold."""
        if regime not in self._training_sets:
            self._training_sets[regime] = TrainingSets(self._representation, regime, self.seed, self.data.rows)
        return self._training_sets[regime]

    @cached_property
    def _estimator(self) -> Estimator:
        return self.make_estimator()

    @cached_property
    def _representation(self) -> Samples | Statistics:
        if getattr(self.model, "synthesis", "samples") == "statistics":
            return Statistics(cast(StatisticsEstimator, self._estimator))
        return Samples(self._estimator)

    # ---- what finished segments say ---------------------------------------------------------------------------

    def result(self, generation: int, folders: Mapping[str, Path]) -> GenerationResult:
        """Every measure's mean, spread and percentiles over the replicates; of some generations each replicate too."""
        folder = folders[SEGMENT]
        if folder not in self._files:
            self._files[folder] = self._segment_files(folders)
        segment = self._files[folder]
        shown = self.model.replicates > 1 and generation in self._shown
        replicates = {
            name: values[generation - segment.first].numpy() for name, values in segment.measures.items() if shown
        }
        return GenerationResult(metrics=segment.summary(generation), distributions=replicates)

    def _segment_files(self, folders: Mapping[str, Path]) -> SegmentFiles:
        """A segment with its measures, those that were asked for by name among them."""
        fitted, measures = SegmentStates.read(folders[SEGMENT]), load_file(folders[MEASURES] / MEASURES_FILE)
        if self._start is None:
            # Generations are read in order.
            self._start = fitted.state(0)
        more = replicate_metrics(self.metrics, _subject(fitted, self._start), f"generations from {fitted.first} on")
        return SegmentFiles.of(fitted, {**measures, **more})

    def inputs(self) -> Mapping[str, Artifact]:
        """Nothing: real data are drawn as they are wanted."""
        return {}

    def subjects(self, generation: int) -> Sequence[Subject]:
        """The fitted parameters of all replicates; see :func:`_subject`."""
        return [_subject(None, None)]

    @cached_property
    def metrics(self) -> ChosenMetrics:
        """Metrics beside the estimator's own measures."""
        return ChosenMetrics.of_settings(self._metrics, self.subjects(0), self.name)

    @cached_property
    def _shown(self) -> set[int]:
        return shown_generations(self.generations)

    def reclaimable(self) -> Iterable[str]:
        """Nothing: parameters are small, and later segments draw from them."""
        return ()

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> ChainReport:
        """What the family presents of the chain whose results were asked for."""
        return self.present(ChainData(sorted(self._files.values(), key=lambda files: files.first)), title)

    def figure_text(self, title: ChainTitle) -> FigureText:
        """What the family's figures say of the chain."""
        sample = f"{self.model.replicates:,} replicates of {self.data.rows:,} real rows"
        return FigureText(model=title.model, regime=title.regime, seeds=title.seeds, n=sample)


def _subject(fitted: SegmentStates | None, start: State | None) -> Subject:
    """What metrics ``of="replicates"`` may need.

    ``states``: name -> tensor [T, R, ...] of the parameters of T generations and R replicates; ``first``: name ->
    tensor [R, ...] of generation 0's; ``generations``: the T numbers.
    """
    offered = {"states": fitted and fitted.states, "first": start, "generations": fitted and fitted.generations}
    return Subject(
        "replicates", "", {name: Input(partial(_given, value), (SEGMENT,)) for name, value in offered.items()}
    )


def _given(value: Any, folders: Mapping[str, Path]) -> Any:
    return value


def _states(folders: Iterable[Path]) -> dict[int, State]:
    segments = [SegmentStates.read(folder) for folder in folders]
    return {generation: segment.state(generation) for segment in segments for generation in segment.generations}


def _segments_in_reach(first: int, regime: RegimeSettings, earlier: Sequence[Segment]) -> list[Segment]:
    """The earlier segments that one from ``first`` on needs: generation 0, the one before, and those drawn from."""
    drawn = {source.generation for draw in compose(regime, first, seed=0) for source in draw.sources}
    needed = {0, first - 1} | {generation for generation in drawn if generation is not None}
    return [segment for segment in earlier if needed & set(range(segment.first, segment.last + 1))]


def _composition(generation: int, regime: RegimeSettings, seed: int) -> str:
    """A digest of what a generation trains on, and of the rows its sources hold: the same for regimes that mean it.

    Spelled out it would be as long as the chain, where a regime accumulates.
    """
    draws = compose(regime, generation, seed)
    synthetic = [source for draw in draws for source in draw.sources if source.kind == "synthetic"]
    rows = [synthetic_rows(regime, source.generation) for source in synthetic if source.generation is not None]
    recipe = {"draws": composition_recipe(draws, _source_name), "rows": rows}
    return sha256(canonical_json(recipe).encode()).hexdigest()


def _source_name(source: Source) -> str:
    return source.kind if source.generation is None else f"{source.kind} {source.generation}"
