"""The VAE family: declares its artifacts, and reads finished ones."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelcollapse.data.settings import ImageSettings
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
from modelcollapse.families.populations.lineages import execution_of
from modelcollapse.families.populations.recipes import part_of, union_of
from modelcollapse.families.selection import SelectingFamily, SelectionStages
from modelcollapse.families.stage import Declare
from modelcollapse.families.vae import recipes, stages
from modelcollapse.families.vae.metric_inputs import metric_subjects
from modelcollapse.families.vae.presentation import PRESENTATION
from modelcollapse.families.vae.recipes import StageContext
from modelcollapse.families.vae.settings import VaeSettings, neighbour_problems
from modelcollapse.merges.recipes import MERGED, Merging
from modelcollapse.metrics.base import ChosenMetrics, Subject
from modelcollapse.metrics.computing import compute_metrics, dear_artifacts
from modelcollapse.populations.members import member_seed, shares_of
from modelcollapse.regimes import Draw, Source, composition_recipe, reserve_stream
from modelcollapse.seeding import Stream
from modelcollapse.selections.recipes import SELECTED_ROWS
from modelcollapse.settings import identity_of
from modelcollapse.store import Artifact

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution


class VaeFamily(SelectingFamily):
    """Variational autoencoders on grey images; see Family for the contract."""

    name = "vae"
    segment_length = 1
    compared_with = "preserve"
    headline: Sequence[tuple[str, str]] = PRESENTATION.headline
    selection_stages = SelectionStages(
        stages.score_candidates, stages.select, stages.score_training_set, stages.select_training_set
    )
    prompts: Literal["real", "previous"] = "real"

    def __init__(self, settings: ChainNeeds, execution: "Execution", member: int = 0) -> None:
        self._chain, self._execution_of_chain, self._member = settings, execution, member
        self._model: VaeSettings = settings.model
        self._data: ImageSettings = settings.data
        self._selection, self._merge = settings.selection, settings.merge
        self._metrics = settings.metrics
        self._seed, self._precision = member_seed(settings.seed, member), settings.trainer.precision
        self._callbacks, self._fit_arguments = settings.callbacks, trainer_recipe(settings.trainer)
        self._execution = execution_of(execution, settings.population, member)
        self.title = self._model.name
        self.initial = self._model.init

    # ---- what is declared -------------------------------------------------------------------------------------

    @cached_property
    def _whole(self) -> Artifact:
        recipe = recipes.real_data_recipe(self._data)
        return self._declare("data", stages.real_data, recipe, {}, "real data")

    @cached_property
    def _real(self) -> Artifact:
        return part_of(self._whole, self._chain.population, self._member, self._chain.seed, recipes.IMAGES_FILE)

    def member(self, number: int) -> "VaeFamily":
        """The family of a member of the population."""
        return VaeFamily(self._chain, self._execution_of_chain, number)

    def union(self, generation: int, sets: Sequence[Artifact]) -> Artifact:
        """Images drawn from all of the sets."""
        return union_of(sets, self._chain.population, self._member, self._seed, generation, recipes.IMAGES_FILE)

    def inputs(self) -> Mapping[str, Artifact]:
        """The real data."""
        return {"real": self._real}

    def rows(self, real: Path) -> tuple[int, int | None]:
        """Images of the training split and of the reserve."""
        from modelcollapse.data.images import image_count

        return image_count(real, "train"), image_count(real, "reserve")

    def input_problems(self, folders: Mapping[str, Path]) -> Iterable[str]:
        """Fewer test images than neighbours."""
        from modelcollapse.data.images import image_count

        compared = min(self._model.evaluation.samples, image_count(folders["real"], "test"))
        return neighbour_problems(self._model.evaluation.neighbours, compared)

    def fresh(self, generation: int, share: float) -> Artifact:
        """The next rows of the reserve."""
        stream = reserve_stream(self._seed)
        recipe = {"stream": stream.recipe(), "share": share, "generation": generation}
        label, parents = f"generation {generation} · fresh real data", {"real": self._real}
        return self._declare(
            "data",
            stages.fresh_data,
            recipe,
            parents,
            label,
            generation=generation,
            share=share,
            stream=stream,
        )

    def pretrained(self) -> None:
        """There is no pretrained VAE: generation 0 starts from random weights."""

    def fit(
        self,
        span: Span,
        compositions: Mapping[int, Sequence[Draw]],
        sources: Mapping[Source, Artifact],
        initial: Artifact | None,
        selected: Artifact | None = None,
    ) -> Artifact:
        """The VAE fitted to the composition; images of a streamed source are drawn as they are wanted."""
        ((generation, draws),) = compositions.items()
        stream = Stream(self._seed, generation, "fit")
        recipe = {
            "training": training_recipe(self._model.training, generation),
            "architecture": identity_of(self._model.architecture),
            "beta": self._model.beta,
            "precision": self._precision,
            "stream": stream.recipe(),
            "composition": composition_recipe(draws, lambda source: sources[source].key),
            **callbacks_recipe(self._callbacks),
            **self._fit_arguments,
        }
        parents = {"real": self._real}
        parents |= {source.role: artifact for source, artifact in sources.items()}
        parents |= {"initial": initial} if initial else {}
        parents |= {SELECTED_ROWS: selected} if selected else {}
        label, size = f"generation {generation} · fit", 4 * recipes.parameter_count(self._model.architecture)
        arguments: dict[str, Any] = {
            "generation": generation,
            "draws": tuple(draws),
            "stream": stream,
            "callbacks": self._callbacks,
        }
        return self._declare("model", stages.fit, recipe, parents, label, size, **arguments)

    def merge(self, generation: int, fitted: Artifact, reference: Artifact, previous: Artifact) -> Artifact:
        """The fitted network with merged weights, an artifact of its own."""
        merging = Merging.of(self._merge, self._seed, generation)
        # What exports it reads the network's shape there.
        recipe = {**merging.recipe(), "architecture": identity_of(self._model.architecture)}
        parents, label = merging.parents(fitted, reference, previous), f"generation {generation} · merging"
        return self._declare(MERGED, stages.merge, recipe, parents, label, fitted.expected_bytes, merging=merging)

    def synthesise(self, generation: int, model: Artifact, prompts: Artifact | None, rows: float) -> Artifact:
        """The images that the model draws from N(0, I), or the decoder that they are streamed from."""
        stream = Stream(self._seed, generation, "synthesis")
        stored = self._model.synthesis == "fixed"
        recipe = {
            "synthesis": self._model.synthesis,
            "rows": rows,
            "precision": self._precision if stored else None,
            "stream": stream.recipe() if stored else None,
        }
        parents, size = {"model": model, "real": self._real}, self._set_bytes(rows)
        label = f"generation {generation} · drawing" if stored else f"generation {generation} · decoder"
        arguments: dict[str, Any] = {"rows": rows, "stream": stream}
        return self._declare("synthetic", stages.generate, recipe, parents, label, size, **arguments)

    def _scorer_sources(self, writer: Artifact, reference: Artifact) -> dict[str, Mapping[str, Artifact]]:
        """What a scorer may need, and the artifacts that it is computed from, by role."""
        return {
            "reference_losses": {"reference": reference},
            "writer_losses": {"writer": writer},
            "class_log_probabilities": {"classifier": self._classifier},
            "real_rows": {"real": self._real},
            "stream": {},
            "is_synthetic": {},
        }

    @property
    def _scoring(self) -> dict[str, Any]:
        return {"precision": self._precision, "noise": recipes.SCORING_STREAM.recipe()}

    def _set_bytes(self, rows: float) -> int | None:
        if self._model.synthesis == "stream":
            return 4 * recipes.decoder_parameter_count(self._model.architecture)
        count = self._data.train_rows
        share = float(shares_of(self._chain.population)[self._member]) * (1 - self._data.reserve)
        return None if count is None else int(2 * 28 * 28 * rows * count * share)

    @cached_property
    def _classifier(self) -> Artifact:
        stream = recipes.CLASSIFIER_STREAM
        recipe = {
            "settings": identity_of(self._model.classifier),
            "precision": self._precision,
            "stream": stream.recipe(),
        }
        # Of all real data, where members have parts of them: all are measured with one instrument.
        parents, label = {"real": self._whole}, "classifier · fit"
        return self._declare("classifier", stages.classifier, recipe, parents, label, stream=stream)

    def measurements(
        self, generation: int, model: Artifact, synthetic: Artifact, reference: Artifact
    ) -> Mapping[str, Artifact]:
        """Scores on real data, and measures of samples."""
        artifacts = {
            "scores": self._scores(generation, model),
            "measures": self._measures(generation, synthetic, reference),
        }
        sources = {"real": self._real, "model": model, "synthetic": synthetic, **artifacts}
        dear = dear_artifacts(self.metrics, self.subjects(generation), sources, f"generation {generation}")
        return {**artifacts, **dear}

    def _scores(self, generation: int, model: Artifact) -> Artifact:
        stream = recipes.SCORING_STREAM
        recipe = {"precision": self._precision, "stream": stream.recipe()}
        parents, label = {"model": model, "real": self._real}, f"generation {generation} · scoring"
        return self._declare("scores", stages.score, recipe, parents, label, stream=stream)

    def _measures(self, generation: int, synthetic: Artifact, reference: Artifact) -> Artifact:
        stream, settings = Stream(self._seed, generation, "samples"), identity_of(self._model.evaluation)
        recipe = {
            "settings": {name: value for name, value in settings.items() if name != "neighbours"},
            "precision": self._precision,
            "stream": stream.recipe() if self._model.synthesis == "stream" else None,
        }
        parents = {
            "synthetic": synthetic,
            "reference": reference,
            "classifier": self._classifier,
            "real": self._real,
        }
        label = f"generation {generation} · measuring samples"
        return self._declare("measures", stages.measure, recipe, parents, label, stream=stream)

    @cached_property
    def _context(self) -> StageContext:
        return StageContext(self._model, self._data, self._execution)

    @property
    def _declare(self) -> Declare:
        return Declare(self._context)

    def subjects(self, generation: int) -> Sequence[Subject]:
        """Both real splits, samples and real images in latent and feature space, and the classifier."""
        return metric_subjects(self._model, self._selection.selects_synthetic)

    @cached_property
    def metrics(self) -> ChosenMetrics:
        """The metrics that the settings ask for."""
        return ChosenMetrics.of_settings(self._metrics, self.subjects(0), self.name)

    # ---- results ----------------------------------------------------------------------------------------------

    def result(self, generation: int, folders: Mapping[str, Path]) -> GenerationResult:
        """Metrics, latent means and shown samples of one generation."""
        from modelcollapse.families.vae.report import generation_result

        metrics = compute_metrics(self.metrics, self.subjects(generation), folders, f"generation {generation}")
        return generation_result(generation, folders, metrics)

    def load_model(self, generation: int, folders: Mapping[str, Path]) -> Any:
        """The VAE in evaluation mode."""
        from modelcollapse.families.vae.network import load_network

        return load_network(self._model.architecture, folders["model"] / recipes.NETWORK_FILE).eval()

    def load_synthetic(self, generation: int, folders: Mapping[str, Path]) -> Any:
        """The images, uint8 [rows, 28, 28]; of ``model.synthesis=stream``, which stores none, the decoder."""
        from modelcollapse.data.images import read_images
        from modelcollapse.families.vae.network import load_decoder

        if self._model.synthesis == "fixed":
            return read_images(folders["synthetic"], "train")
        return load_decoder(self._model.architecture, folders["synthetic"] / recipes.DECODER_FILE).eval()

    def reclaimable(self) -> Iterable[str]:
        """Weights of the generations, fitted and merged; synthetic sets hold what later generations need of them."""
        return ("model", MERGED)

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> ChainReport:
        """Sample grids, latent densities, and curves of what is lost."""
        from modelcollapse.families.vae.report import chain_report

        return chain_report(results, title)
