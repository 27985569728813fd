"""Settings of the VAE family: network, fitting, synthesis, image data, what is measured."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.regimes import RegimeSettings, rows_of
from modelcollapse.settings.fitting import Count, EpochSettings, NonNegative, Positive, Reserve, reserve_problems
from modelcollapse.settings.reading import Range

DIGITS = 1797
"""How many digits scikit-learn has."""


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

    @property
    def real_rows(self) -> int:
        """Images that are trained on."""
        return self._training_rows - self.reserved_rows

    @property
    def reserved_rows(self) -> int:
        """Images that are set aside."""
        return rows_of(self.reserve, self._training_rows)

    @property
    def _training_rows(self) -> int:
        return DIGITS - self.validation_rows - self.test_rows if self.train_rows is None else self.train_rows


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

    @property
    def real_rows(self) -> int | None:
        """Images that are trained on, where the settings say so."""
        return None if self.train_rows is None else self.train_rows - rows_of(self.reserve, self.train_rows)

    @property
    def reserved_rows(self) -> int | None:
        """Images that are set aside, where the settings say so."""
        return None if self.train_rows is None else rows_of(self.reserve, self.train_rows)


ImageDataSettings = DigitsDataSettings | ImagesDataSettings


def _stream_problems(model: VaeSettings, data: ImageDataSettings, decoding: Any, regime: RegimeSettings) -> list[str]:
    if model.synthesis != "stream" or (regime.pool == "none" and regime.older == 0):
        return []
    return [
        f"model.synthesis: 'stream' stores no synthetic images, and regime={regime.name} takes from the sets of"
        " several generations; it must be fixed (model.synthesis=fixed)"
    ]


def _reserve_problems(model: VaeSettings, data: ImageDataSettings, decoding: Any, regime: RegimeSettings) -> list[str]:
    return reserve_problems(data.reserve, regime)


def _digits_problems(model: VaeSettings, data: ImageDataSettings, decoding: Any, regime: RegimeSettings) -> list[str]:
    if data.kind != "digits":
        return []
    asked = (data.train_rows or 1) + data.validation_rows + data.test_rows
    if asked <= DIGITS:
        return []
    rows = "null" if data.train_rows is None else data.train_rows
    return [
        f"data.train_rows, data.validation_rows, data.test_rows: {rows}, {data.validation_rows}, {data.test_rows} must"
        f" be at most the {DIGITS} digits together, one or more for training among them"
    ]


def _training_row_problems(
    model: VaeSettings, data: ImageDataSettings, decoding: Any, regime: RegimeSettings
) -> list[str]:
    if data.real_rows is None or data.real_rows > 0 or data.train_rows is None:
        return []
    return [f"data.reserve: {data.reserve:g} leaves none of data.train_rows={data.train_rows} to train on"]


def _neighbour_problems(
    model: VaeSettings, data: ImageDataSettings, decoding: Any, regime: RegimeSettings
) -> list[str]:
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


CHECKS = (_stream_problems, _reserve_problems, _digits_problems, _training_row_problems, _neighbour_problems)
"""What is wrong between settings that are each allowed; each looks at few of them."""
