"""The VAE family: promises of its artifacts, and what the finished ones say."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelcollapse.config.settings import ChainSettings
from modelcollapse.data.settings import ImageDataSettings
from modelcollapse.families.base import ChainReport, ChainTitle, GenerationResult, source_role, stage, training_recipe
from modelcollapse.families.vae import recipes
from modelcollapse.families.vae.metric_inputs import metric_subjects
from modelcollapse.families.vae.presentation import PRESENTATION
from modelcollapse.families.vae.recipes import StageContext
from modelcollapse.families.vae.settings import VaeSettings, neighbour_problems
from modelcollapse.metrics.base import ChosenMetrics, Subject
from modelcollapse.metrics.computing import compute_metrics, dear_artifacts
from modelcollapse.regimes import Draw, Source, composition_recipe, reserve_stream
from modelcollapse.seeding import Stream
from modelcollapse.selections.recipes import SYNTHETIC, Candidates, declare
from modelcollapse.settings import identity_of
from modelcollapse.store import Artifact, BuildContext

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution


class VaeFamily:
    """Variational autoencoders on grey images; see Family for the contract."""

    name = "vae"
    headline: Sequence[tuple[str, str]] = PRESENTATION.headline
    prompts: Literal["real", "previous"] = "real"

    def __init__(self, settings: ChainSettings, execution: "Execution") -> None:
        self._model: VaeSettings = settings.model
        self._data: ImageDataSettings = settings.data
        self._selection = settings.selection
        self._metrics = settings.metrics
        self._seed, self._precision = settings.seed, settings.trainer.precision
        self._execution = execution
        self.title = self._model.name
        self.initial = self._model.init

    # ---- promises of artifacts -----------------------------------------------------------------------------------

    @cached_property
    def _real(self) -> Artifact:
        recipe = recipes.real_data_recipe(self._data)
        return Artifact("data", recipe, {}, self._stage("inputs", "make_real_data"), "real data")

    def real(self) -> Artifact:
        """Labelled images: train, validation, test, and the reserve where one is set aside."""
        return self._real

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
        recipe = {
            "version": recipes.VERSIONS["data"],
            "stream": stream.recipe(),
            "share": share,
            "generation": generation,
        }
        make = self._stage("inputs", "make_fresh_data", generation=generation, share=share, stream=stream)
        return Artifact("data", recipe, {"real": self._real}, make, f"generation {generation} · fresh real data")

    def pretrained(self) -> None:
        """There is no pretrained VAE: generation 0 starts from random weights."""

    def fit(
        self, generation: int, draws: Sequence[Draw], sources: Mapping[Source, Artifact], initial: Artifact | None
    ) -> Artifact:
        """The VAE fitted to the composition; images of a streamed source are drawn as they are wanted."""
        stream = Stream(self._seed, generation, "fit")
        recipe = {
            "version": recipes.VERSIONS["fit"],
            "training": training_recipe(self._model.training, generation),
            "architecture": identity_of(self._model.architecture),
            "beta": self._model.beta,
            "precision": self._precision,
            "stream": stream.recipe(),
            "composition": composition_recipe(draws, lambda source: sources[source].key),
        }
        parents = {"real": self._real}
        parents |= {source_role(source): sources[source] for draw in draws for source in draw.sources}
        parents |= {"initial": initial} if initial else {}
        make = self._stage("fitting", "make_generation", generation=generation, draws=tuple(draws), stream=stream)
        size = 4 * recipes.parameter_count(self._model.architecture)
        return Artifact("model", recipe, parents, make, f"generation {generation} · fit", size)

    def synthesise(self, generation: int, model: Artifact, prompts: Artifact, rows: float) -> Artifact:
        """The images that the model draws from N(0, I), or the decoder that they are streamed from."""
        stream = Stream(self._seed, generation, "synthesis")
        stored = self._model.synthesis == "fixed"
        recipe = {
            "version": recipes.VERSIONS["synthetic"],
            "synthesis": self._model.synthesis,
            "rows": rows,
            "precision": self._precision if stored else None,
            "stream": stream.recipe() if stored else None,
        }
        make = self._stage("generating", "make_synthetic_set", rows=rows, stream=stream)
        parents = {"model": model, "real": self._real}
        label = f"generation {generation} · drawing" if stored else f"generation {generation} · decoder"
        return Artifact("synthetic", recipe, parents, make, label, self._synthetic_bytes(rows))

    def select(
        self, generation: int, written: Artifact, model: Artifact, reference: Artifact, rows: float
    ) -> Mapping[str, Artifact]:
        """What is kept of the images that the model drew, as ``synthetic``, and what it was chosen by."""
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
                "real_rows": {"real": self._real},
                "stream": {},
            },
            seed=self._seed,
            scoring={"precision": self._precision, "noise": recipes.SCORING_STREAM.recipe()},
            expected_bytes=self._synthetic_bytes(rows),
        )
        return declare(self._selection, candidates, partial(self._stage, "selecting"))

    def _synthetic_bytes(self, rows: float) -> int | None:
        if self._model.synthesis == "stream":
            return 4 * recipes.decoder_parameter_count(self._model.architecture)
        count = self._data.train_rows
        return None if count is None else int(2 * 28 * 28 * rows * count * (1 - self._data.reserve))

    @cached_property
    def _classifier(self) -> Artifact:
        stream = recipes.CLASSIFIER_STREAM
        recipe = {
            "version": recipes.VERSIONS["classifier"],
            "settings": identity_of(self._model.classifier),
            "precision": self._precision,
            "stream": stream.recipe(),
        }
        make = self._stage("scoring", "make_classifier", stream=stream)
        return Artifact("classifier", recipe, {"real": self._real}, make, "classifier · fit")

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
        recipe = {
            "version": recipes.VERSIONS["scores"],
            "precision": self._precision,
            "stream": stream.recipe(),
        }
        make = self._stage("scoring", "make_scores", stream=stream)
        parents = {"model": model, "real": self._real}
        return Artifact("scores", recipe, parents, make, f"generation {generation} · scoring")

    def _measures(self, generation: int, synthetic: Artifact, reference: Artifact) -> Artifact:
        stream, settings = Stream(self._seed, generation, "samples"), identity_of(self._model.evaluation)
        recipe = {
            "version": recipes.VERSIONS["measures"],
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
        make = self._stage("scoring", "make_measures", stream=stream)
        return Artifact("measures", recipe, parents, make, f"generation {generation} · measuring samples")

    def _stage(self, module: str, function: str, **arguments: Any) -> Callable[[BuildContext], None]:
        stage_context = StageContext(self._model, self._data, self._execution)
        return stage(f"modelcollapse.families.vae.{module}", function, stage_context, **arguments)

    def subjects(self, generation: int) -> Sequence[Subject]:
        """Both real splits, samples and real images in latent and feature space, and the classifier."""
        return metric_subjects(self._model)

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

    def reclaimable(self) -> Iterable[str]:
        """Weights of the generations; synthetic sets hold what later generations need of them."""
        return ("model",)

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> ChainReport:
        """Sample grids, latent densities, and curves of what is lost."""
        from modelcollapse.families.vae.report import chain_report

        return chain_report(results, title)
