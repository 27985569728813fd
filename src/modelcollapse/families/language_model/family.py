"""The language-model family: declares its artifacts, and reads finished ones."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.data import data_of
from modelcollapse.data.settings import LanguageModelData
from modelcollapse.decoding.engine import decoding_recipe
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.edits.settings import edit_recipe, folder_of, prior_of
from modelcollapse.families.base import (
    ChainNeeds,
    ChainReport,
    ChainTitle,
    GenerationResult,
    Span,
    callbacks_recipe,
    trainer_recipe,
    training_recipe,
)
from modelcollapse.families.language_model import recipes, stages
from modelcollapse.families.language_model.expectations import Expectations
from modelcollapse.families.language_model.metric_inputs import metric_subjects
from modelcollapse.families.language_model.presentation import PRESENTATION
from modelcollapse.families.language_model.recipes import StageContext
from modelcollapse.families.language_model.settings import LanguageModelSettings
from modelcollapse.families.language_model.shapes import shown_name
from modelcollapse.families.populations.lineages import execution_of
from modelcollapse.families.populations.recipes import part_of, union_of
from modelcollapse.families.selection import SelectingFamily, SelectionStages
from modelcollapse.families.stage import Declare
from modelcollapse.merges.recipes import MERGED, Merging
from modelcollapse.metrics.base import ChosenMetrics, Subject
from modelcollapse.metrics.computing import compute_metrics, dear_artifacts
from modelcollapse.populations.members import member_seed, shares_of
from modelcollapse.regimes import Draw, Source, composition_recipe
from modelcollapse.seeding import Stream
from modelcollapse.selections.recipes import SELECTED_ROWS
from modelcollapse.settings import identity_of
from modelcollapse.store import Artifact

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution


BASE_SEED = 0
"""The base stands in for a published pretrained model: it is the same one for chains of every seed."""


class LanguageModelFamily(SelectingFamily):
    """OPT language models on blocks of tokens; see Family for the contract."""

    name = "language_model"
    segment_length = 1
    compared_with = "preserve"
    headline: Sequence[tuple[str, str]] = PRESENTATION.headline
    selection_stages = SelectionStages(
        stages.score_candidates, stages.select, stages.score_training_set, stages.select_training_set
    )

    def __init__(self, settings: ChainNeeds, execution: "Execution", member: int = 0) -> None:
        self._chain, self._execution_of_chain, self._member = settings, execution, member
        self._model: LanguageModelSettings = settings.model
        self._data: LanguageModelData = settings.data
        self._decoding: DecodingSettings = settings.decoding
        self._selection, self._merge, self._edit = settings.selection, settings.merge, settings.editing
        self._metrics = settings.metrics
        self._seed, self._precision = member_seed(settings.seed, member), settings.trainer.precision
        self._callbacks, self._fit_arguments = settings.callbacks, trainer_recipe(settings.trainer)
        self._execution = execution_of(execution, settings.population, member)
        self.title = shown_name(self._model)
        self.initial = self._model.init
        self.prompts = self._decoding.prompts

    # ---- what is declared -------------------------------------------------------------------------------------

    @cached_property
    def _tokenizer(self) -> Artifact:
        recipe = recipes.tokenizer_recipe(self._model, self._data)
        return self._declare("tokenizer", stages.tokenizer, recipe, {}, "tokenizer")

    @cached_property
    def _real(self) -> Artifact:
        recipe, parents = recipes.real_data_recipe(self._data), {"tokenizer": self._tokenizer}
        whole = self._declare("data", stages.real_data, recipe, parents, "real data", **self._expected.real())
        return part_of(whole, self._chain.population, self._member, self._chain.seed, recipes.BLOCKS_FILE)

    def member(self, number: int) -> "LanguageModelFamily":
        """The family of a member of the population."""
        return LanguageModelFamily(self._chain, self._execution_of_chain, number)

    def union(self, generation: int, sets: Sequence[Artifact]) -> Artifact:
        """Blocks drawn from all of the sets."""
        return union_of(sets, self._chain.population, self._member, self._seed, generation, recipes.BLOCKS_FILE)

    def inputs(self) -> Mapping[str, Artifact]:
        """Tokenizer, real data, published weights and the prior of an edit from a folder, if there are any."""
        found = {"tokenizer": self._tokenizer, "real": self._real}
        if self._start is not None and self._model.pretrained:
            found["pretrained"] = self._start
        if self._prior is not None:
            found[recipes.PRIOR] = self._prior
        return found

    def rows(self, real: Path) -> tuple[int, int | None]:
        """Blocks of the training split and of the reserve; the built-in language never ends."""
        from modelcollapse.families.language_model.inputs import rows

        return rows(self._data, real)

    def input_problems(self, folders: Mapping[str, Path]) -> Iterable[str]:
        """Tokenizers that do not fit weights, too few positions, texts that are too short to continue."""
        from modelcollapse.families.language_model.inputs import input_problems
        from modelcollapse.families.language_model.prior import prior_problems

        yield from input_problems(self._model, self._data, self._decoding, folders)
        if recipes.PRIOR in folders:
            yield from prior_problems(folders, self._data.block_length)

    def fresh(self, generation: int, share: float) -> Artifact:
        """New sentences of the built-in language, or the next rows of the reserve."""
        stream = data_of(self._data).fresh_stream(self._seed, generation)
        recipe = {"stream": stream.recipe(), "share": share, "generation": generation}
        label, parents = f"generation {generation} · fresh real data", {"real": self._real}
        arguments = {"generation": generation, "share": share, "stream": stream}
        return self._declare("data", stages.fresh_data, recipe, parents, label, **arguments)

    @cached_property
    def _start(self) -> Artifact | None:
        if self._model.pretrained:
            source = recipes.weights_recipe(self._model)
            parents = {"tokenizer": self._tokenizer}
            size = self._expected.weights()
            return self._declare("pretrained", stages.pretrained, source, parents, "pretrained weights", **size)
        return self._base() if self._model.base else None

    def pretrained(self) -> Artifact | None:
        """Published weights, or the base that the project pretrains itself."""
        return self._start

    @cached_property
    def _prior(self) -> Artifact | None:
        """The model of a folder by whose probabilities text is edited."""
        folder = folder_of(self._edit)
        if folder is None:
            return None
        recipe = recipes.prior_recipe(folder)
        return self._declare("pretrained", stages.prior, recipe, {}, "weights of the prior", folder=folder)

    def _base(self) -> Artifact:
        base = self._model.base
        assert base is not None
        blocks_recipe = recipes.base_data_recipe(base, self._data)
        tokenizer = {"tokenizer": self._tokenizer}
        size = self._expected.base_text(base)
        blocks = self._declare("data", stages.base_data, blocks_recipe, tokenizer, "base · text", **size)
        stream = Stream(BASE_SEED, 0, "base")
        recipe = self._fit_recipe(training_recipe(base.training, 0), stream, initial=None)
        recipe["parts_per_epoch"] = base.parts_per_epoch
        parents, expected = {**tokenizer, "data": blocks}, self._expected.base(base)
        return self._declare("base", stages.base, recipe, parents, "base · fit", stream=stream, **expected)

    def _fit_recipe(self, training: dict[str, Any], stream: Stream, initial: Artifact | None) -> dict[str, Any]:
        return {
            "training": training,
            "precision": self._precision,
            "stream": stream.recipe(),
            "architecture": None
            if initial or self._model.architecture is None
            else identity_of(self._model.architecture),
        }

    def fit(
        self,
        span: Span,
        compositions: Mapping[int, Sequence[Draw]],
        sources: Mapping[Source, Artifact],
        initial: Artifact | None,
        selected: Artifact | None = None,
    ) -> Artifact:
        """The network fitted to the composition, and the real validation split's choice among its epochs."""
        ((generation, draws),) = compositions.items()
        stream = Stream(self._seed, generation, "fit")
        recipe = self._fit_recipe(training_recipe(self._model.training, generation), stream, initial)
        recipe["composition"] = composition_recipe(draws, lambda source: sources[source].key)
        recipe |= {**callbacks_recipe(self._callbacks), **self._fit_arguments}
        parents = {"tokenizer": self._tokenizer, "real": self._real}
        parents |= {source.role: artifact for source, artifact in sources.items()}
        parents |= {"initial": initial} if initial else {}
        parents |= {SELECTED_ROWS: selected} if selected else {}
        size = self._selection.size if selected else 1.0
        label, expected = f"generation {generation} · fit", self._expected.fit(generation, draws, size)
        arguments: dict[str, Any] = {
            "generation": generation,
            "draws": tuple(draws),
            "stream": stream,
            "callbacks": self._callbacks,
        }
        return self._declare("model", stages.fit, recipe, parents, label, **expected, **arguments)

    def merge(self, generation: int, fitted: Artifact, reference: Artifact, previous: Artifact) -> Artifact:
        """The fitted network with merged weights, an artifact of its own."""
        merging = Merging.of(self._merge, self._seed, generation)
        parents, label = merging.parents(fitted, reference, previous), f"generation {generation} · merging"
        return self._declare(
            MERGED, stages.merge, merging.recipe(), parents, label, fitted.expected_bytes, merging=merging
        )

    def synthesise(self, generation: int, model: Artifact, prompts: Artifact | None, rows: float) -> Artifact:
        """The continuations that the model generates for every prompt block."""
        assert prompts is not None
        stream = Stream(self._seed, generation, "synthesis")
        recipe = {
            "decoding": decoding_recipe(self._decoding, recipes.MODEL_TYPE),
            "rows": rows,
            "precision": self._decoding.precision,
            "stream": stream.recipe() if self._decoding.is_random else None,
        }
        parents = {"model": model, "prompts": prompts, "real": self._real}
        label, expected = f"generation {generation} · synthesis", self._expected.synthetic(rows)
        arguments: dict[str, Any] = {"rows": rows, "stream": stream}
        return self._declare("synthetic", stages.generate, recipe, parents, label, **expected, **arguments)

    def edit(self, generation: int, model: Artifact, reference: Artifact, before: Artifact | None) -> Artifact:
        """The blocks of the training split, or those edited before, with tokens that the prior is sure of changed."""
        priors = {"latest": model, "generation0": reference, "pretrained": self._start, "folder": self._prior}
        prior, stream = priors[prior_of(self._edit)], Stream(self._seed, generation, "editing")
        assert prior is not None
        recipe = {"edit": edit_recipe(self._edit), "precision": self._precision, "stream": stream.recipe()}
        parents = {recipes.PRIOR: prior, recipes.TEXT: before or self._real, "real": self._real}
        label, expected = f"generation {generation} · editing", self._expected.edited()
        return self._declare("edited", stages.edit, recipe, parents, label, **expected, edit=self._edit, stream=stream)

    def _scorer_sources(self, writer: Artifact, reference: Artifact) -> dict[str, Mapping[str, Artifact]]:
        """What a scorer may need, and the artifacts that it is computed from, by role."""
        return {
            "reference_losses": {"reference": reference},
            "writer_losses": {"writer": writer},
            "true_log_likelihood": {},
            "texts": {"tokenizer": self._tokenizer},
            "real_rows": {"real": self._real},
            "stream": {},
            "is_synthetic": {},
        }

    @property
    def _scoring(self) -> dict[str, Any]:
        return {"precision": self._precision}

    def _set_bytes(self, rows: float) -> int | None:
        return self._expected.selected(rows)

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
        recipe, parents = {"precision": self._precision}, {"model": model, "real": self._real}
        return self._declare("scores", stages.score, recipe, parents, label, **self._expected.scores())

    def _measures(self, generation: int, synthetic: Artifact, reference: Artifact) -> Artifact:
        parents = {
            "synthetic": synthetic,
            "reference": reference,
            "reference_scores": self._scores(reference, "generation 0 · scoring"),
            "real": self._real,
        }
        label = f"generation {generation} · measuring the synthetic set"
        recipe, expected = {"precision": self._precision}, self._expected.measures(synthetic.recipe.get("rows", 1.0))
        return self._declare("measures", stages.measure, recipe, parents, label, **expected)

    def _continuations(self, generation: int, model: Artifact) -> Artifact:
        stream = Stream(self._seed, generation, "continuations")
        recipe = {
            "decoding": decoding_recipe(self._decoding, recipes.MODEL_TYPE),
            "shown_prompts": self._decoding.shown_prompts,
            "shown_texts": list(self._decoding.shown_texts),
            "precision": self._decoding.precision,
            "stream": stream.recipe() if self._decoding.is_random else None,
        }
        parents = {"model": model, "real": self._real, "tokenizer": self._tokenizer}
        label = f"generation {generation} · continuations"
        return self._declare("continuations", stages.continuations, recipe, parents, label, stream=stream)

    @cached_property
    def _context(self) -> StageContext:
        return StageContext(self._model, self._data, self._decoding, self._execution)

    @property
    def _declare(self) -> Declare:
        return Declare(self._context)

    # ---- metrics ----------------------------------------------------------------------------------------------

    def subjects(self, generation: int) -> Sequence[Subject]:
        """Both real splits, the synthetic set, the model, and with generation 0 the start where there is one."""
        has_start = generation == 0 and self._start is not None
        return metric_subjects(self._data, has_start, self._selection.selects_synthetic)

    @cached_property
    def metrics(self) -> ChosenMetrics:
        """The metrics that the settings ask for."""
        return ChosenMetrics.of_settings(self._metrics, self.subjects(0), self.name)

    @cached_property
    def _expected(self) -> Expectations:
        share = float(shares_of(self._chain.population)[self._member])
        return Expectations(self._model, self._data, self._decoding, share)

    # ---- results ----------------------------------------------------------------------------------------------

    def result(self, generation: int, folders: Mapping[str, Path]) -> GenerationResult:
        """Metrics, per-sequence perplexities and continuations of one generation."""
        from modelcollapse.families.language_model.report import generation_result
        from modelcollapse.selections.confusion import confusion_metrics

        metrics = compute_metrics(self.metrics, self.subjects(generation), folders, f"generation {generation}")
        return generation_result(folders, {**metrics, **confusion_metrics(self._selection, folders)})

    def load_model(self, generation: int, folders: Mapping[str, Path]) -> Any:
        """The network as transformers has it, in evaluation mode."""
        from modelcollapse.families.language_model.network import load_network

        return load_network(folders["model"]).eval()

    def load_synthetic(self, generation: int, folders: Mapping[str, Path]) -> Any:
        """The texts, a sequence of str; its ``tokens`` are [sequences, new tokens]."""
        from modelcollapse.data.blocks import read_blocks
        from modelcollapse.data.tokenizers import load_tokenizer
        from modelcollapse.families.language_model.report import Texts

        return Texts(read_blocks(folders["synthetic"], "blocks"), load_tokenizer(folders["tokenizer"]))

    def reclaimable(self) -> Iterable[str]:
        """Weights of the generations, as they were fitted and merged."""
        return ("model", MERGED)

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> ChainReport:
        """Perplexity curves, histograms of reference perplexity, diversity, and the continuations."""
        from modelcollapse.families.language_model.report import chain_report

        return chain_report(results, title)
