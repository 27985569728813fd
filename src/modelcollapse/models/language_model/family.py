"""The language-model family: promises of its pieces, and what the finished ones say."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.decoding.engine import decoding_recipe
from modelcollapse.models.family import ChainReport, ChainTitle, GenerationResult
from modelcollapse.models.language_model import recipes
from modelcollapse.models.language_model.bench import Bench
from modelcollapse.models.language_model.presentation import PRESENTATION
from modelcollapse.models.stages import source_role, stage, training_recipe
from modelcollapse.regimes import Draw, Source, composition_recipe, reserve_stream
from modelcollapse.seeding import Stream
from modelcollapse.settings.chain import ChainSettings
from modelcollapse.settings.decoding import DecodingSettings
from modelcollapse.settings.language_model import LanguageModelSettings
from modelcollapse.settings.text import TextDataSettings
from modelcollapse.store import Piece, Workshop

if TYPE_CHECKING:
    from modelcollapse.execution.trainer import Execution

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
        self._seed, self._precision = settings.seed, settings.trainer.precision
        self._execution = execution
        self.title = self._model.name
        self.initial = self._model.init
        self.prompts = self._decoding.prompts

    # ---- promises of pieces -----------------------------------------------------------------------------------

    @cached_property
    def _tokenizer(self) -> Piece:
        recipe = recipes.tokenizer_recipe(self._model, self._data)
        return Piece("tokenizer", recipe, {}, self._stage("data_stages", "make_tokenizer"), "tokenizer")

    @cached_property
    def _real(self) -> Piece:
        recipe = recipes.real_data_recipe(self._data)
        make = self._stage("data_stages", "make_real_data")
        return Piece("data", recipe, {"tokenizer": self._tokenizer}, make, "real data")

    def real(self) -> Piece:
        """Token blocks: train, validation, test, and the reserve where one is set aside."""
        return self._real

    def inputs(self) -> Mapping[str, Piece]:
        """Tokenizer, real data and published weights, if there are any."""
        found = {"tokenizer": self._tokenizer, "real": self._real}
        if self._start is not None and self._model.pretrained:
            found["pretrained"] = self._start
        return found

    def rows(self, real: Path) -> tuple[int, int | None]:
        """Blocks of the training split and of the reserve; the built-in language never ends."""
        from modelcollapse.models.language_model.input_checks import rows

        return rows(self._data, real)

    def input_problems(self, folders: Mapping[str, Path]) -> Iterable[str]:
        """A tokenizer that does not fit the weights, too few positions, texts that cannot be continued."""
        from modelcollapse.models.language_model.input_checks import input_problems

        return input_problems(self._model, self._data, self._decoding, folders)

    def fresh(self, generation: int, share: float) -> Piece:
        """New sentences of the built-in language, or the next rows of the reserve."""
        finite = self._data.kind != "language"
        stream = reserve_stream(self._seed) if finite else Stream(self._seed, generation, "fresh")
        recipe = {
            "version": recipes.VERSIONS["data"],
            "stream": stream.recipe(),
            "share": share,
            "generation": generation,
        }
        make = self._stage("data_stages", "make_fresh_data", generation=generation, share=share, stream=stream)
        return Piece("data", recipe, {"real": self._real}, make, f"generation {generation} · fresh real data")

    @cached_property
    def _start(self) -> Piece | None:
        if self._model.pretrained:
            source = recipes.weights_source(self._model.pretrained, self._model.revision)
            recipe = {"version": recipes.VERSIONS["pretrained"], **source}
            return Piece(
                "pretrained",
                recipe,
                {"tokenizer": self._tokenizer},
                self._stage("fit_stage", "make_pretrained"),
                "pretrained weights",
            )
        return self._base() if self._model.base else None

    def pretrained(self) -> Piece | None:
        """Published weights, or the base that the project pretrains itself."""
        return self._start

    def _base(self) -> Piece:
        base, data = self._model.base, self._data
        assert base is not None
        assert data.kind != "language"
        blocks_recipe = recipes.base_data_recipe(base, data.block_length, data.line_start_token)
        make_blocks = self._stage("data_stages", "make_base_data")
        blocks = Piece("data", blocks_recipe, {"tokenizer": self._tokenizer}, make_blocks, "base · text")
        stream = Stream(BASE_SEED, 0, "base")
        recipe = self._fit_recipe(training_recipe(base.training, 0), stream, initial=None)
        recipe["parts_per_epoch"] = base.parts_per_epoch
        make = self._stage("fit_stage", "make_base", stream=stream)
        parents = {"tokenizer": self._tokenizer, "data": blocks}
        return Piece("base", recipe, parents, make, "base · fit", self._model_bytes)

    def _fit_recipe(self, training: dict[str, Any], stream: Stream, initial: Piece | None) -> dict[str, Any]:
        return {
            "version": recipes.VERSIONS["fit"],
            "training": training,
            "precision": self._precision,
            "stream": stream.recipe(),
            "architecture": None if initial or self._model.architecture is None else asdict(self._model.architecture),
        }

    def fit(
        self, generation: int, draws: Sequence[Draw], sources: Mapping[Source, Piece], initial: Piece | None
    ) -> Piece:
        """The network fitted to the composition, and the real validation split's choice among its epochs."""
        stream = Stream(self._seed, generation, "fit")
        recipe = self._fit_recipe(training_recipe(self._model.training, generation), stream, initial)
        recipe["composition"] = composition_recipe(draws, lambda source: sources[source].key)
        parents = {"tokenizer": self._tokenizer, "real": self._real}
        parents |= {source_role(source): sources[source] for draw in draws for source in draw.sources}
        parents |= {"initial": initial} if initial else {}
        make = self._stage("fit_stage", "make_generation", generation=generation, draws=tuple(draws), stream=stream)
        return Piece("model", recipe, parents, make, f"generation {generation} · fit", self._model_bytes)

    def synthesise(self, generation: int, model: Piece, prompts: Piece, rows: float) -> Piece:
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
        make = self._stage("writing_stage", "make_synthetic_set", rows=rows, stream=stream)
        return Piece(
            "synthetic",
            recipe,
            parents,
            make,
            f"generation {generation} · writing",
            self._synthetic_bytes(rows),
        )

    def measurements(self, generation: int, model: Piece, synthetic: Piece, reference: Piece) -> Mapping[str, Piece]:
        """Scores on real data, measures of the synthetic set, fixed prompts continued; the start's scores once."""
        pieces = {
            "scores": self._scores(model, f"generation {generation} · scoring"),
            "measures": self._measures(generation, synthetic, reference),
            "continuations": self._continuations(generation, model),
        }
        if generation == 0 and self._start is not None:
            pieces["zero_shot"] = self._scores(self._start, "zero-shot · scoring")
        return pieces

    def _scores(self, model: Piece, label: str) -> Piece:
        recipe = {"version": recipes.VERSIONS["scores"], "precision": self._precision}
        return Piece(
            "scores",
            recipe,
            {"model": model, "real": self._real},
            self._stage("scoring_stage", "make_scores"),
            label,
        )

    def _measures(self, generation: int, synthetic: Piece, reference: Piece) -> Piece:
        recipe = {"version": recipes.VERSIONS["measures"], "precision": self._precision}
        parents = {
            "synthetic": synthetic,
            "reference": reference,
            "reference_scores": self._scores(reference, "generation 0 · scoring"),
            "real": self._real,
        }
        label = f"generation {generation} · measuring what was written"
        return Piece("measures", recipe, parents, self._stage("scoring_stage", "make_measures"), label)

    def _continuations(self, generation: int, model: Piece) -> Piece:
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
        make = self._stage("writing_stage", "make_continuations", stream=stream)
        return Piece("continuations", recipe, parents, make, f"generation {generation} · continuations")

    def _stage(self, module: str, function: str, **arguments: Any) -> Callable[[Workshop], None]:
        bench = Bench(self._model, self._data, self._decoding, self._execution)
        return stage(f"modelcollapse.models.language_model.{module}", function, bench, **arguments)

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
        from modelcollapse.models.language_model.results import generation_result

        return generation_result(folders)

    def reclaimable(self) -> Iterable[str]:
        """Weights of the generations."""
        return ("model",)

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> ChainReport:
        """Perplexity curves, histograms of reference perplexity, diversity, and the continuations."""
        from modelcollapse.models.language_model.results import chain_report

        return chain_report(results, title)
