"""The generic family of an estimator: declares its artifacts, and reads finished ones.

A family of this kind supplies an Estimator and its figures::

    class MyFamily(EstimatorFamily):
        name = "my_family"
        headline = (("some_measure/mean", "some measure"),)

        def build_estimator(self) -> Estimator: ...
        def present(self, chain: ChainData, title: ChainTitle) -> ChainReport: ...  # figures, if it has any

and settings that inherit from ``families.estimators.settings.EstimatorSettings``; the data have ``rows``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from modelcollapse.data import data_code
from modelcollapse.edits.settings import is_edited
from modelcollapse.families.base import ChainNeeds, ChainReport, ChainTitle, GenerationResult, Initial, Span, spans
from modelcollapse.families.estimators.estimator import (
    MEASURES_FILE,
    SELECTION_FILE,
    STATISTICS,
    Estimator,
    FitFailed,
    SegmentFiles,
    SegmentStates,
    State,
)
from modelcollapse.families.estimators.stages import EstimatorStages, StageContext, estimator_stages
from modelcollapse.families.estimators.theory import Plan
from modelcollapse.families.stage import Declare
from modelcollapse.figures.style import FigureText
from modelcollapse.figures.thinning import shown_generations
from modelcollapse.merges.settings import is_merged
from modelcollapse.metrics.base import ChosenMetrics, Input, Subject
from modelcollapse.metrics.computing import replicate_metrics
from modelcollapse.populations.members import member_name
from modelcollapse.regimes import Draw, Source, compositions_digest, rows_of, synthetic_rows
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.recipes import SYNTHETIC, Choosing
from modelcollapse.settings import SettingsError, identity_of
from modelcollapse.store import Artifact

if TYPE_CHECKING:
    from modelcollapse.families.estimators.diets import Diets
    from modelcollapse.training.trainer import Execution


MODEL, MEASURES, SELECTION = "model", "measures", "selection"
FEW_ROWS = 100


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
    """A family around an Estimator, many generations a fit; see modelcollapse.families.base.Family for the contract."""

    name: ClassVar[str]
    headline: ClassVar[Sequence[tuple[str, str]]]
    stages: ClassVar[EstimatorStages | None] = None
    """The stages that build its artifacts; None where the code of the class itself decides them."""
    knows_populations: ClassVar[bool] = False
    """Whether closed forms are those of its populations, under whatever diet."""
    initial: Initial = "previous"
    prompts: Literal["real", "previous"] = "real"
    compared_with = "accumulate"

    def __init__(self, settings: ChainNeeds, execution: "Execution") -> None:
        if settings.trainer.accelerator in ("gpu", "mps"):
            raise SettingsError(
                [
                    f"trainer.accelerator: {settings.trainer.accelerator!r} is of no use to"
                    f" model.family={self.name}, which computes in float64 on the CPU; it must be auto or cpu"
                ]
            )
        self.regime, self.population = settings.regime, settings.population
        self.replicates: int = settings.model.replicates
        """Independent replicates; of a population each holds all members."""
        self.model, self.data = settings.model, settings.data
        if self.population.is_active:
            # Members are further replicates to an estimator, each with the rows that a member has.
            self.model = replace(self.model, replicates=self.population.models * self.replicates)
            self.data = replace(self.data, rows=self.data.rows // self.population.parts)
        self.selection = settings.selection
        self.seed, self.generations = settings.seed, settings.generations
        self.title: str = self.model.name
        self.segment_length: int = self.model.segment_length
        # The trainer's own precision would cast what is to stay float64.
        trainer = replace(settings.trainer, accelerator="cpu", precision="32-true")
        self.merging: Choice = settings.merge
        self.editing: Choice = settings.editing
        self._execution = replace(execution, settings=trainer)
        self._segments: list[Artifact] = []
        self._spans: dict[str, Span] = {}
        self._measured: dict[tuple[str, str], Artifact] = {}
        self._selections: dict[str, Artifact] = {}
        self._metrics = settings.metrics
        self._files: dict[Path, SegmentFiles] = {}
        self._start: State | None = None

    @abstractmethod
    def build_estimator(self) -> Estimator:
        """The estimator that the settings ask for."""

    def plan(self, chain: ChainData) -> Plan:
        """The chain as closed forms see it."""
        return Plan(self.regime, int(chain.generations[-1]), self.data.rows, self.merging, self.editing)

    def present(self, chain: ChainData, title: ChainTitle) -> ChainReport:
        """Tables, documents and figures of a finished chain; a table of the measures where a family has no more."""
        return ChainReport({self.name: chain.table({})}, {}, {})

    # ---- declarations ------------------------------------------------------------------------------------------

    def inputs(self) -> Mapping[str, Artifact]:
        """Nothing: real data are drawn as they are wanted."""
        return {}

    def rows(self, real: Path) -> tuple[int, int | None]:
        """Real rows of a replicate; there are always more."""
        return self.data.rows, None

    def input_problems(self, folders: Mapping[str, Path]) -> Iterable[str]:
        """None: settings say all of a known distribution."""
        return ()

    def fresh(self, generation: int, share: float) -> None:
        """Nothing: they are drawn as they are wanted."""
        return None

    def pretrained(self) -> None:
        """Nothing: generation 0 is fitted to real data alone."""
        return None

    def fit(
        self,
        span: Span,
        compositions: Mapping[int, Sequence[Draw]],
        sources: Mapping[Source, Artifact],
        initial: Artifact | None,
    ) -> Artifact:
        """The generations of a span, each fitted when the one before is; a set is drawn again from its model."""
        recipe = {
            "model": identity_of(self.model),
            "data": {**identity_of(self.data), **data_code(self.data)},
            "stream": Stream(self.seed, 0, "segment").recipe(),
            "generations": [span.first, span.last],
            "composition": compositions_digest(compositions, cache(partial(synthetic_rows, self.regime))),
        }
        if self.population.is_active:
            recipe["population"] = identity_of(self.population)
        needed = {*sources.values(), *((initial,) if initial else ())}
        if span.first == 0:
            self._segments.clear()
        elif is_merged(self.merging):
            recipe["merge"] = self.merging.recipe()
            needed.add(self._segments[0])
        if self._is_selected(span, compositions):
            recipe["selection"] = self._selection_recipe
            # Scorers may ask for losses under generation 0's model.
            needed.update(self._segments[:1])
            needed.update(self._writers(compositions))
        if self._segments and is_edited(self.editing):
            recipe["edit"] = self.editing.recipe()
            # What is edited was edited by every model before.
            needed.update(self._segments)
        parents = {_segment_role(self._spans[one.key]): one for one in needed}
        fit = self._stages.fit
        artifact = self._declare(MODEL, fit, recipe, parents, str(span), span=span, compositions=dict(compositions))
        self._spans[artifact.key] = span
        self._segments.append(artifact)
        return artifact

    def _is_selected(self, span: Span, compositions: Mapping[int, Sequence[Draw]]) -> bool:
        """Whether a selection decides what the generations of a span are trained on."""
        if self.selection.selects_training_sets:
            return span.first > 0
        return self.selection.is_active and any(source.kind == "synthetic" for source in _sets(compositions))

    def _writers(self, compositions: Mapping[int, Sequence[Draw]]) -> Sequence[Artifact]:
        """The models before that training sets are selected by: of one that is used again, each that went before."""
        if not self.selection.selects_training_sets:
            return ()
        is_reused = any(draw.reused is not None for draws in compositions.values() for draw in draws)
        return self._segments if is_reused else self._segments[-1:]

    @cached_property
    def _selection_recipe(self) -> dict[str, Any]:
        """What decides which rows are kept, of those that models write or of training sets."""
        selection = self.selection
        if selection.selects_training_sets:
            stream = Stream(self.seed, 0, "selection.training_set.rule")
            return {
                **self._stages.select.recipe(),
                "scorer": selection.scorer and selection.scorer.recipe(),
                "training_set": selection.size,
                **Choosing(selection.rule, stream, selection.within, selection.shortfall).recipe(),
            }
        stream = Stream(self.seed, 0, "selection.rule")
        return {
            **self._stages.select.recipe(),
            "scorer": selection.scorer and selection.scorer.recipe(),
            "oversampling": selection.oversampling,
            **Choosing(selection.rule, stream, selection.within, selection.shortfall).recipe(),
        }

    def merge(self, generation: int, fitted: Artifact, reference: Artifact, previous: Artifact) -> Artifact:
        """The segment itself: it holds merged parameters, and draws each set from them."""
        return fitted

    def synthesise(self, generation: int, model: Artifact, prompts: Artifact | None, rows: float) -> Artifact:
        """The model itself: what it writes follows from its parameters and a stream."""
        return model

    def edit(self, generation: int, model: Artifact, reference: Artifact, before: Artifact | None) -> Artifact:
        """The model itself: what is edited follows from the parameters of all models so far and streams."""
        return model

    def select(
        self, generation: int, synthetic: Artifact, model: Artifact, reference: Artifact, rows: float
    ) -> Mapping[str, Artifact]:
        """The model itself: what is kept of its rows follows from it too; and what was kept, in numbers."""
        if not self.selection.selects_synthetic:
            return {SYNTHETIC: synthetic}
        if model.key not in self._selections:
            self._selections[model.key] = self._selected(model, reference)
        return {SYNTHETIC: synthetic, SELECTION: self._selections[model.key]}

    def select_training_set(
        self,
        generation: int,
        draws: Sequence[Draw],
        sources: Mapping[Source, Artifact],
        writer: Artifact,
        reference: Artifact,
    ) -> Mapping[str, Artifact]:
        """Nothing: rows are selected where the generation is fitted, and its segment says what was kept."""
        return {}

    def _selected(self, model: Artifact, reference: Artifact) -> Artifact:
        span = self._spans[model.key]
        written = [synthetic_rows(self.regime, generation) for generation in span]
        recipe = {
            "selection": self._selection_recipe,
            "rows": [[rows, len(list(run))] for rows, run in groupby(written)],
            "replicates": self.model.replicates,
        }
        parents, label = {MODEL: model, "start": reference}, f"{span} · selecting"
        return self._declare(SELECTION, self._stages.select, recipe, parents, label)

    def measurements(
        self, generation: int, model: Artifact, synthetic: Artifact, reference: Artifact
    ) -> Mapping[str, Artifact]:
        """What the estimator measures of the span of generations that the model is of."""
        if (model.key, reference.key) not in self._measured:
            self._measured[model.key, reference.key] = self._measurement(model, reference)
        return {MEASURES: self._measured[model.key, reference.key]}

    def _measurement(self, model: Artifact, reference: Artifact) -> Artifact:
        span = self._spans[model.key]
        # The last two say how much work it is.
        recipe = {
            "stream": Stream(self.seed, 0, "measure").recipe(),
            "replicates": self.model.replicates,
            "generations": [span.first, span.last],
        }
        parents, label = {MODEL: model, "start": reference}, f"{span} · measuring"
        return self._declare(MEASURES, self._stages.measure, recipe, parents, label)

    @cached_property
    def _stages(self) -> EstimatorStages:
        return self.stages or estimator_stages(self.name, type(self))

    @property
    def _declare(self) -> Declare:
        return Declare(self._context)

    @cached_property
    def _context(self) -> StageContext:
        by_statistics = getattr(self.model, "synthesis", "samples") == "statistics"
        return StageContext(
            self.build_estimator,
            by_statistics,
            self.regime,
            self.data.rows,
            self.model.replicates,
            self.seed,
            self.selection,
            self._execution,
            self.merging,
            self._diets,
            self.editing,
        )

    @property
    def sharing(self) -> int:
        """The number of members that have the same real rows."""
        return self.population.models // self.population.parts

    @property
    def _diets(self) -> "Diets | None":
        if not self.population.is_active:
            return None
        from modelcollapse.families.estimators.diets import Diets

        return Diets(self.population, self.replicates, self.seed)

    # ---- results --------------------------------------------------------------------------------------------

    def result(self, generation: int, folders: Mapping[str, Path]) -> GenerationResult:
        """Every measure's mean, spread and percentiles over the replicates; of some generations each replicate too."""
        folder = folders[MODEL]
        if folder not in self._files:
            self._files[folder] = self._segment_files(folders)
        segment = self._files[folder]
        replicates = {}
        if self.replicates > 1 and generation in self._shown:
            place = generation - segment.first
            replicates = {name: values[place].numpy() for name, values in segment.measures.items()}
        return GenerationResult(metrics=segment.summary(generation), distributions=replicates)

    def _segment_files(self, folders: Mapping[str, Path]) -> SegmentFiles:
        """A segment with its measures, those that were asked for by name among them."""
        fitted, measures = SegmentStates.read(folders[MODEL]), load_file(folders[MEASURES] / MEASURES_FILE)
        # Of training sets, of which generation 0's is never selected, beside the parameters.
        selected = folders[SELECTION if self.selection.selects_synthetic else MODEL] / SELECTION_FILE
        if selected.is_file():
            kept = load_file(selected)
            measures |= {f"selection/{name}": values for name, values in kept.items()}
        if self._start is None:
            # Generations are read in order.
            self._start = fitted.state(0)
        subject = self._subject(fitted, self._start)
        more = replicate_metrics(self.metrics, subject, f"generations {fitted.first} to {fitted.last}")
        if self.population.is_active:
            models = self.population.models
            fitted = replace(fitted, diagnostics=measures_of_members(fitted.diagnostics, models))
            measures, more = (measures_of_members(each, models) for each in (measures, more))
        return SegmentFiles.of(fitted, {**measures, **more})

    def measure_names(self) -> list[str]:
        """Flat names of what the estimator measures, found by measuring an estimate from a few samples."""
        estimator, stream = self.build_estimator(), Stream(self.seed, 0, "measure_names")
        try:
            first = estimator.fit(estimator.real(FEW_ROWS, stream), None, None, stream).state
            measures = estimator.measure({name: value[None] for name, value in first.items()}, first, [stream])
        except FitFailed:
            return []
        return [f"{name}/{statistic}" for name in measures for statistic in STATISTICS]

    def subjects(self, generation: int) -> Sequence[Subject]:
        """The fitted parameters of all replicates; they are given when a segment is read."""
        return [self._subject(None, None)]

    def _subject(self, fitted: SegmentStates | None, start: State | None) -> Subject:
        """What metrics ``of="replicates"`` may need.

        ``states``: name -> tensor [T, R, ...] of the parameters of T generations and R replicates; ``first``: name ->
        tensor [R, ...] of generation 0's; ``true``: name -> tensor [...] of the true distribution's; ``generations``:
        the T numbers.
        """
        offered = {
            "states": fitted and fitted.states,
            "first": start,
            "generations": fitted and fitted.generations,
        }
        given = {name: Input(partial(_given, value), (MODEL,)) for name, value in offered.items()}
        return Subject("replicates", "", {**given, "true": Input(lambda folders: self.build_estimator().true)})

    @cached_property
    def metrics(self) -> ChosenMetrics:
        """Metrics beside the estimator's own measures."""
        return ChosenMetrics.of_settings(self._metrics, self.subjects(0), self.name)

    @cached_property
    def _shown(self) -> set[int]:
        return shown_generations(self.generations)

    def load_model(self, generation: int, folders: Mapping[str, Path]) -> State:
        """The parameters, name -> tensor [replicates, ...]."""
        return SegmentStates.read(folders[MODEL]).state(generation)

    def load_replicates(self, folders: Mapping[str, Path]) -> SegmentFiles:
        """The segment of the folders with every replicate's measures; that of generation 0 is to be read first."""
        return self._segment_files(folders)

    def load_synthetic(self, generation: int, folders: Mapping[str, Path]) -> torch.Tensor:
        """The samples, [replicates, rows, d], drawn again from the model as they were drawn for the next generation.

        Where a selection is active, those that it keeps.
        Where ``model.synthesis=statistics`` the next generation saw sufficient statistics of other samples.
        """
        if is_edited(self.editing):
            return self._load_edited(generation, folders)
        segment = SegmentStates.read(folders[MODEL])
        if self.selection.selects_synthetic:
            start = SegmentStates.read(folders["start"]) if segment.first else segment
            states = {0: start.state(0), generation: segment.state(generation)}
            selected: torch.Tensor = self._context.selector.select(generation, states).rows.rows
            return selected
        rows = rows_of(synthetic_rows(self.regime, generation), self.data.rows)
        stream = Stream(self.seed, generation, "synthesis")
        return self.build_estimator().draw(segment.state(generation), rows, stream)

    def _load_edited(self, generation: int, folders: Mapping[str, Path]) -> torch.Tensor:
        from modelcollapse.families.estimators.training import TrainingSets

        segment = SegmentStates.read(folders[MODEL])
        before = [span for span in spans(self.generations, self.segment_length) if span.last < segment.first]
        segments = [*(SegmentStates.read(folders[_segment_role(span)]) for span in before), segment]
        states = {number: each.state(number) for each in segments for number in each.generations}
        sets: TrainingSets = self._context.training_sets
        return cast("torch.Tensor", sets.edited(generation, states))

    def reclaimable(self) -> Iterable[str]:
        """Nothing: parameters are small, and later segments draw from them."""
        return ()

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> ChainReport:
        """What the family presents of the chain whose results were asked for."""
        return self.present(ChainData(sorted(self._files.values(), key=lambda files: files.first)), title)

    def expected(self, columns: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What theory expects of every generation, [N + 1] each; NaN from generation 1 on where rows are selected, or
        are others' in a population whose theory is not known.
        """
        is_alone = not self.population.is_active or self.population.diet == "own" or self.knows_populations
        if not self.selection.is_active and is_alone:
            return columns
        first = np.arange(self.generations + 1) == 0
        return {name: np.where(first, values, np.nan) for name, values in columns.items()}

    def figure_text(self, title: ChainTitle) -> FigureText:
        """What the family's figures say of the chain."""
        members = f" of {self.population.models} members" if self.population.is_active else ""
        sample = f"{self.replicates:,} replicates{members} of {self.data.rows:,} real rows"
        return FigureText(model=title.model, regime=title.regime, seeds=title.seeds, n=sample)


def _sets(compositions: Mapping[int, Sequence[Draw]]) -> Iterable[Source]:
    return (source for draws in compositions.values() for draw in draws for source in draw.sets)


def measures_of_members(measures: State, models: int) -> dict[str, torch.Tensor]:
    """Measures [T, R] of a population, from those of its members [T, m R]: their means, and each member's."""
    found: dict[str, torch.Tensor] = {}
    for name, values in measures.items():
        each = values.unflatten(1, (models, -1))
        found[name] = each.double().mean(1)
        found |= {member_name(member, name): each[:, member] for member in range(models)}
    return found


def _segment_role(span: Span) -> str:
    return f"generations_{span.first}_to_{span.last}"


def _given(value: Any, folders: Mapping[str, Path]) -> Any:
    return value
