"""Settings of the VAE family: network, fit, synthetic images, measurements."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.data.settings import ImageSettings
from modelcollapse.populations.settings import PopulationSettings, population_refusal
from modelcollapse.regimes import REAL, Regime, Source, compose
from modelcollapse.regimes.availability import reserve_problems
from modelcollapse.registry import Choice, Registered
from modelcollapse.selections.settings import SelectionSettings, lacking, prompt_problems, refusal
from modelcollapse.settings import EXECUTION, Count, IntroducedAs, NonNegative, Positive, Range
from modelcollapse.training.settings import EpochSettings

ADAM, CROSS_ENTROPY = Choice("optimizers", "adam"), Choice("losses", "cross_entropy")


@dataclass(frozen=True)
class VaeArchitectureSettings:
    """The shape of the network."""

    channels: Count
    """Channels of the encoder's first convolution; the second has twice as many, and the decoder mirrors both."""
    latents: Count
    """Dimensions of the latent space."""


@dataclass(frozen=True)
class VaeTrainingSettings(EpochSettings):
    """How a VAE is fitted to its images."""

    learning_rate: Positive
    """Learning rate, constant."""
    weight_decay: NonNegative
    """Weight decay: an L2 penalty with Adam, decoupled from the gradient with AdamW."""
    optimizer: Annotated[Any, Registered("optimizers"), IntroducedAs(ADAM)] = ADAM
    """Optimizer, with its settings."""
    loss: Annotated[Any, Registered("losses"), IntroducedAs(CROSS_ENTROPY)] = CROSS_ENTROPY
    """Of a pixel as a target that is white or black; validation and scores are always of cross-entropy."""


@dataclass(frozen=True)
class ClassifierSettings:
    """The classifier, trained once on the real data, in whose feature space and classes samples are measured."""

    epochs: Count
    """Passes over the real training split; the epoch with the best validation loss is kept."""
    batch_size: Count
    """Images per optimiser step."""
    learning_rate: Positive
    """Learning rate of Adam."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured of each generation's samples."""

    samples: Annotated[int, Range(low=2)]
    """Samples of each generation, and at most as many real test images, that are compared in feature space."""
    latent_samples: Annotated[int, Range(low=2)]
    """Samples whose latent means under the reference encoder are taken; the paper has 100."""
    neighbours: Count
    """Which nearest neighbour bounds the manifolds of precision and recall; Kynkäänniemi et al. (2019) have 3."""
    shown: Annotated[int, Range(low=1, high=400)]
    """Samples kept for the figures."""


@dataclass(frozen=True)
class VaeSettings:
    """A convolutional variational autoencoder on grey images of 28 x 28 pixels."""

    family: Literal["vae"]
    """Names the family."""
    name: Annotated[str, EXECUTION]
    """Name for people and figures; not in any key."""
    architecture: VaeArchitectureSettings
    """Shape of the network."""
    beta: NonNegative
    """Weight of the KL divergence in the loss; 1 is the evidence lower bound."""
    synthesis: Literal["stream", "fixed"]
    """Synthetic images: drawn anew for every minibatch from their model's decoder, or drawn once and stored."""
    init: Literal["fresh", "generation0", "previous"]
    """Initial weights of generations 1, 2, ...: random ones, generation 0's, or the previous generation's."""
    training: VaeTrainingSettings
    """How each generation is fitted."""
    classifier: ClassifierSettings
    """What samples are measured with."""
    evaluation: EvaluationSettings
    """What is measured."""


def stream_problems(
    model: VaeSettings, data: ImageSettings, decoding: Any, regime: Regime, generations: int
) -> list[str]:
    """Why the regime needs stored synthetic images, if so."""
    if model.synthesis != "stream" or all(
        draw.sources in ((REAL,), (Source("fresh", t),), (Source("synthetic", t - 1),))
        for t in regime.kinds_of_generation(generations)
        for draw in compose(regime, t, seed=0)
    ):
        return []
    return [
        f"model.synthesis: 'stream' stores no synthetic images, and regime={regime.name} takes from the sets of"
        " several generations; it must be fixed (model.synthesis=fixed)"
    ]


def _reserve_problems(model: VaeSettings, data: ImageSettings, decoding: Any, regime: Regime) -> list[str]:
    return reserve_problems(data.reserve, regime)


def _size_problems(model: VaeSettings, data: ImageSettings, decoding: Any, regime: Regime) -> list[str]:
    return data.size_problems()


def _training_row_problems(model: VaeSettings, data: ImageSettings, decoding: Any, regime: Regime) -> list[str]:
    if data.real_rows is None or data.real_rows > 0 or data.train_rows is None:
        return []
    return [f"data.reserve: {data.reserve:g} leaves none of data.train_rows={data.train_rows} to train on"]


def _neighbour_problems(model: VaeSettings, data: ImageSettings, decoding: Any, regime: Regime) -> list[str]:
    samples = min(model.evaluation.samples, data.test_rows or model.evaluation.samples)
    return neighbour_problems(model.evaluation.neighbours, samples)


def neighbour_problems(neighbours: int, compared: int) -> list[str]:
    """Why no image has that many neighbours among those that are compared, if so."""
    if neighbours < compared:
        return []
    return [
        f"model.evaluation.neighbours: {neighbours} must be less than the {compared} images that are compared:"
        " model.evaluation.samples, and at most the test images"
    ]


CHECKS = (_reserve_problems, _size_problems, _training_row_problems, _neighbour_problems)
"""What is wrong between settings that are each allowed; each looks at few of them."""

OFFERS = ("reference_losses", "writer_losses", "class_log_probabilities", "real_rows", "stream")
"""What a scorer can ask for."""


def selection_problems(
    selection: SelectionSettings,
    model: VaeSettings,
    data: ImageSettings,
    decoding: Any,
    regime: Regime,
    generations: int,
) -> list[str]:
    """Why the selection is not possible: no images are stored, or the scorer needs what there is not."""
    if model.synthesis == "stream":
        return refusal(selection, "model.synthesis=stream, which stores no images", "model.synthesis=fixed")
    where = f"model.family={model.family}"
    return [*lacking(selection, "images", OFFERS, where), *prompt_problems(selection, model)]


def _streamed_population_problems(
    population: PopulationSettings, model: VaeSettings, data: ImageSettings, regime: Regime, generations: int
) -> list[str]:
    if model.synthesis != "stream":
        return []
    return population_refusal(population, "model.synthesis=stream, which stores no images (model.synthesis=fixed does)")


POPULATION_CHECKS = (_streamed_population_problems,)
"""As CHECKS, of population, model, data, regime and the number of generations."""
