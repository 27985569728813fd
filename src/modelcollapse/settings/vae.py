"""Settings of the VAE family: network, fitting, synthesis, image data, what is measured."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.regimes import RegimeSettings
from modelcollapse.settings.fitting import Count, EpochSettings, NonNegative, Positive, Reserve
from modelcollapse.settings.reading import Range


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
    """Learning rate of Adam, constant."""
    weight_decay: NonNegative
    """Adam's L2 penalty, added to the gradient (not AdamW's decoupled decay)."""


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
    name: str
    """Name for people and figures; not in any key."""
    architecture: VaeArchitectureSettings
    """Shape of the network."""
    beta: NonNegative
    """Weight of the KL divergence in the loss; 1 is the evidence lower bound."""
    synthesis: Literal["stream", "fixed"]
    """Synthetic images: drawn anew for every minibatch from the decoder that wrote them, or drawn once and stored."""
    init: Literal["fresh", "generation0", "previous"]
    """Initial weights of generations 1, 2, ...: random ones, generation 0's, or the previous generation's."""
    training: VaeTrainingSettings
    """How each generation is fitted."""
    classifier: ClassifierSettings
    """What samples are measured with."""
    evaluation: EvaluationSettings
    """What is measured."""


@dataclass(frozen=True)
class DigitsDataSettings:
    """Real data that need no network: scikit-learn's 1,797 handwritten digits, resized from 8 x 8 to 28 x 28."""

    kind: Literal["digits"]
    """Names the kind of data."""
    name: str
    """Name for people and figures."""
    train_rows: Count | None
    """Images of the training split, counted before the reserve is set aside; null takes all that the others leave."""
    validation_rows: Count
    """Images of the validation split."""
    test_rows: Count
    """Images of the test split."""
    reserve: Reserve
    """Share of the training images set aside for regimes that need fresh real data."""


@dataclass(frozen=True)
class ImagesDataSettings:
    """Real data from idx files, or from an image data set of the Hugging Face hub or a local copy of one."""

    kind: Literal["images"]
    """Names the kind of data."""
    name: str
    """Name for people and figures."""
    path: str
    """Hub id, or a local folder: four idx files (plain or gzipped), a copy of the repository, or a saved data set."""
    revision: str | None
    """Commit of the hub repository."""
    image_column: str
    """Column of the images, where these are no idx files."""
    label_column: str
    """Column of the labels, where these are no idx files."""
    train_rows: Count | None
    """Images of the training split, counted before the reserve is set aside; null takes all that validation leaves."""
    validation_rows: Count
    """Images held out of the data set's training split for validation."""
    test_rows: Count | None
    """Images of the test split; null takes all."""
    reserve: Reserve
    """Share of the training images set aside for regimes that need fresh real data."""


ImageDataSettings = DigitsDataSettings | ImagesDataSettings


def impossible_combinations(
    model: VaeSettings, data: ImageDataSettings, decoding: Any, regime: RegimeSettings
) -> list[str]:
    """What is wrong between settings that are each allowed, one message a problem."""
    problems = []
    if model.synthesis == "stream" and (regime.pool != "none" or regime.older > 0):
        problems.append(
            f"model.synthesis: 'stream' stores no synthetic images, and regime={regime.name} takes from the sets of"
            " several generations; it must be fixed (model.synthesis=fixed)"
        )
    if regime.real_source == "fresh" and regime.real > 0 and data.reserve == 0:
        problems.append(
            f"data.reserve: {data.reserve:g} leaves no real data that was never seen before; regime={regime.name} needs"
            " a share above 0"
        )
    return problems
