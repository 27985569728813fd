"""The language-model family: promises of its artifacts, and what the finished ones say."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.config.settings import ChainSettings
from modelcollapse.data.settings import TextDataSettings
from modelcollapse.decoding.engine import decoding_recipe
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.families.base import ChainReport, ChainTitle, GenerationResult, source_role, stage, training_recipe
from modelcollapse.families.language_model import recipes
from modelcollapse.families.language_model.metric_inputs import metric_subjects
from modelcollapse.families.language_model.presentation import PRESENTATION
from modelcollapse.families.language_model.recipes import StageContext
from modelcollapse.families.language_model.settings import LanguageModelSettings
from modelcollapse.metrics.base import ChosenMetrics, Subject
from modelcollapse.metrics.computing import compute_metrics, dear_artifacts
from modelcollapse.regimes import Draw, Source, composition_recipe, reserve_stream
from modelcollapse.seeding import Stream
from modelcollapse.selections.recipes import SYNTHETIC, Candidates, declare
from modelcollapse.settings import identity_of
from modelcollapse.store import Artifact, BuildContext

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution


BASE_SEED = 0
"""The base stands in for a published pretrained model: it is the same one for chains of every seed."""


class LanguageModelFamily:
    """OPT language models on blocks of tokens; see Family for the contract."""

    name = "language_model"
    headline: Sequence[tuple[str, str]] = PRESENTATION.headline

    def __init__(self, settings: ChainSettings, execution: "Execution") -> None:
        self._model: LanguageModelSettings = settings.model
        self._data: TextDataSettings = settings.data
        self._decoding: DecodingSettings = settings.decoding
        self._selection = settings.selection
        self._metrics = settings.metrics
        self._seed, self._precision = settings.seed, settings.trainer.precision
        self._execution = execution
        self.title = self._model.name
        self.initial = self._model.init
        self.prompts = self._decoding.prompts

    # ---- promises of artifacts -----------------------------------------------------------------------------------

    @cached_property
    def _tokenizer(self) -> Artifact:
        recipe = recipes.tokenizer_recipe(self._model, self._data)
        return Artifact("tokenizer", recipe, {}, self._stage("inputs", "make_tokenizer"), "tokenizer")

    @cached_property
    def _real(self) -> Artifact:
        recipe = recipes.real_data_recipe(self._data)
        make = self._stage("inputs", "make_real_data")
        return Artifact("data", recipe, {"tokenizer": self._tokenizer}, make, "real data")

    def real(self) -> Artifact:
        """Token blocks: train, validation, test, and the reserve where one is set aside."""
        return self._real

    def inputs(self) -> Mapping[str, Artifact]:
        """Tokenizer, real data and published weights, if there are any."""
        found = {"tokenizer": self._tokenizer, "real": self._real}
        if self._start is not None and self._model.pretrained:
            found["pretrained"] = self._start
        return found

    def rows(self, real: Path) -> tuple[int, int | None]:
        """Blocks of the training split and of the reserve; the built-in language never ends."""
        from modelcollapse.families.language_model.inputs import rows

        return rows(self._data, real)

    def input_problems(self, folders: Mapping[str, Path]) -> Iterable[str]:
        """A tokenizer that does not fit the weights, too few positions, texts that cannot be continued."""
        from modelcollapse.families.language_model.inputs import input_problems

        return input_problems(self._model, self._data, self._decoding, folders)

    def fresh(self, generation: int, share: float) -> Artifact:
        """New sentences of the built-in language, or the next rows of the reserve."""
        finite = self._data.kind != "language"
        stream = reserve_stream(self._seed) if finite else Stream(self._seed, generation, "fresh")
        recipe = {
            "version": recipes.VERSIONS["data"],
            "stream": stream.recipe(),
            "share": share,
            "generation": generation,
        }
        make = self._stage("inputs", "make_fresh_data", generation=generation, share=share, stream=stream)
        return Artifact("data", recipe, {"real": self._real}, make, f"generation {generation} · fresh real data")

    @cached_property
    def _start(self) -> Artifact | None:
        if self._model.pretrained:
            source = recipes.weights_source(self._model.pretrained, self._model.revision)
            recipe = {"version": recipes.VERSIONS["pretrained"], **source}
            return Artifact(
                "pretrained",
                recipe,
                {"tokenizer": self._tokenizer},
                self._stage("fitting", "make_pretrained"),
                "pretrained weights",
            )
        return self._base() if self._model.base else None

    def pretrained(self) -> Artifact | None:
        """Published weights, or the base that the project pretrains itself."""
        return self._start

    def _base(self) -> Artifact:
        base, data = self._model.base, self._data
        assert base is not None
        assert data.kind != "language"
        blocks_recipe = recipes.base_data_recipe(base, data.block_length, data.line_start_token)
        make_blocks = self._stage("inputs", "make_base_data")
        blocks = Artifact("data", blocks_recipe, {"tokenizer": self._tokenizer}, make_blocks, "base · text")
        stream = Stream(BASE_SEED, 0, "base")
        recipe = self._fit_recipe(training_recipe(base.training, 0), stream, initial=None)
        recipe["parts_per_epoch"] = base.parts_per_epoch
        make = self._stage("fitting", "make_base", stream=stream)
        parents = {"tokenizer": self._tokenizer, "data": blocks}
        return Artifact("base", recipe, parents, make, "base · fit", self._model_bytes)

    def _fit_recipe(self, training: dict[str, Any], stream: Stream, initial: Artifact | None) -> dict[str, Any]:
        return {
            "version": recipes.VERSIONS["fit"],
            "training": training,
            "precision": self._precision,
            "stream": stream.recipe(),
            "architecture": None
            if initial or self._model.architecture is None
            else identity_of(self._model.architecture),
        }

    def fit(
        self, generation: int, draws: Sequence[Draw], sources: Mapping[Source, Artifact], initial: Artifact | None
    ) -> Artifact:
        """The network fitted to the composition, and the real validation split's choice among its epochs."""
        stream = Stream(self._seed, generation, "fit")
        recipe = self._fit_recipe(training_recipe(self._model.training, generation), stream, initial)
        recipe["composition"] = composition_recipe(draws, lambda source: sources[source].key)
        parents = {"tokenizer": self._tokenizer, "real": self._real}
        parents |= {source_role(source): sources[source] for draw in draws for source in draw.sources}
        parents |= {"initial": initial} if initial else {}
        make = self._stage("fitting", "make_generation", generation=generation, draws=tuple(draws), stream=stream)
        return Artifact("model", recipe, parents, make, f"generation {generation} · fit", self._model_bytes)

    def synthesise(self, generation: int, model: Artifact, prompts: Artifact, rows: float) -> Artifact:
        """What the model writes after each prompt block."""
        stream = Stream(self._seed, generation, "synthesis")
        recipe = {
            "version": recipes.VERSIONS["synthetic"],
            "decoding": decoding_recipe(self._decoding, recipes.MODEL_TYPE),
            "rows": rows,
            "precision": self._decoding.precision,
            "stream": stream.recipe() if self._decoding.kind == "sample" else None,
        }
        parents = {"model": model, "prompts": prompts, "real": self._real}
        make = self._stage("generating", "make_synthetic_set", rows=rows, stream=stream)
        return Artifact(
            "synthetic",
            recipe,
            parents,
            make,
            f"generation {generation} · writing",
            self._synthetic_bytes(rows),
        )

    def select(
        self, generation: int, written: Artifact, model: Artifact, reference: Artifact, rows: float
    ) -> Mapping[str, Artifact]:
        """What is kept of that which the model wrote, as ``synthetic``, and what it was chosen by."""
        if not self._selection.is_active:
            return {SYNTHETIC: written}
        candidates = Candidates(
            generation,
            written=written,
            rows=rows,
            real=self._real,
            sources={
                "reference_losses": {"reference": reference},
                "writer_losses": {"writer": model},
                "true_log_likelihood": {},
                "real_rows": {"real": self._real},
                "stream": {},
            },
            seed=self._seed,
            scoring={"precision": self._precision},
            expected_bytes=self._synthetic_bytes(rows),
        )
        return declare(self._selection, candidates, partial(self._stage, "selecting"))

    def measurements(
        self, generation: int, model: Artifact, synthetic: Artifact, reference: Artifact
    ) -> Mapping[str, Artifact]:
        """Scores on real data, measures of the synthetic set, fixed prompts continued; the start's scores once."""
        artifacts = {
            "scores": self._scores(model, f"generation {generation} · scoring"),
            "measures": self._measures(generation, synthetic, reference),
            "continuations": self._continuations(generation, model),
        }
        if generation == 0 and self._start is not None:
            artifacts["zero_shot"] = self._scores(self._start, "zero-shot · scoring")
        sources = {"real": self._real, "model": model, "synthetic": synthetic, **artifacts}
        dear = dear_artifacts(self.metrics, self.subjects(generation), sources, f"generation {generation}")
        return {**artifacts, **dear}

    def _scores(self, model: Artifact, label: str) -> Artifact:
        recipe = {"version": recipes.VERSIONS["scores"], "precision": self._precision}
        return Artifact(
            "scores",
            recipe,
            {"model": model, "real": self._real},
            self._stage("scoring", "make_scores"),
            label,
        )

    def _measures(self, generation: int, synthetic: Artifact, reference: Artifact) -> Artifact:
        recipe = {"version": recipes.VERSIONS["measures"], "precision": self._precision}
        parents = {
            "synthetic": synthetic,
            "reference": reference,
            "reference_scores": self._scores(reference, "generation 0 · scoring"),
            "real": self._real,
        }
        label = f"generation {generation} · measuring what was written"
        return Artifact("measures", recipe, parents, self._stage("scoring", "make_measures"), label)

    def _continuations(self, generation: int, model: Artifact) -> Artifact:
        stream = Stream(self._seed, generation, "continuations")
        recipe = {
            "version": recipes.VERSIONS["continuations"],
            "decoding": decoding_recipe(self._decoding, recipes.MODEL_TYPE),
            "shown_prompts": self._decoding.shown_prompts,
            "shown_texts": list(self._decoding.shown_texts),
            "precision": self._decoding.precision,
            "stream": stream.recipe() if self._decoding.kind == "sample" else None,
        }
        parents = {"model": model, "real": self._real, "tokenizer": self._tokenizer}
        make = self._stage("generating", "make_continuations", stream=stream)
        return Artifact("continuations", recipe, parents, make, f"generation {generation} · continuations")

    def _stage(self, module: str, function: str, **arguments: Any) -> Callable[[BuildContext], None]:
        stage_context = StageContext(self._model, self._data, self._decoding, self._execution)
        return stage(f"modelcollapse.families.language_model.{module}", function, stage_context, **arguments)

    # ---- metrics ----------------------------------------------------------------------------------------------

    def subjects(self, generation: int) -> Sequence[Subject]:
        """Both real splits, the synthetic set, the model, and with generation 0 the start where there is one."""
        return metric_subjects(self._data, generation == 0 and self._start is not None)

    @cached_property
    def metrics(self) -> ChosenMetrics:
        """The metrics that the settings ask for."""
        return ChosenMetrics.of_settings(self._metrics, self.subjects(0), self.name)

    # ---- sizes on disk ----------------------------------------------------------------------------------------

    @cached_property
    def _model_bytes(self) -> int | None:
        vocabulary = self._model.tokenizer.vocabulary_size
        if self._model.architecture is None or vocabulary is None:
            return None
        return 4 * recipes.parameter_count(self._model.architecture, vocabulary)

    def _synthetic_bytes(self, rows: float) -> int | None:
        blocks = self._data.train_blocks
        return None if blocks is None else int(4 * rows * blocks * self._data.block_length)

    # ---- results ----------------------------------------------------------------------------------------------

    def result(self, generation: int, folders: Mapping[str, Path]) -> GenerationResult:
        """Metrics, per-sequence perplexities and continuations of one generation."""
        from modelcollapse.families.language_model.report import generation_result

        metrics = compute_metrics(self.metrics, self.subjects(generation), folders, f"generation {generation}")
        return generation_result(folders, metrics)

    def reclaimable(self) -> Iterable[str]:
        """Weights of the generations."""
        return ("model",)

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> ChainReport:
        """Perplexity curves, histograms of reference perplexity, diversity, and the continuations."""
        from modelcollapse.families.language_model.report import chain_report

        return chain_report(results, title)
