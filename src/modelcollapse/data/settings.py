"""Settings of the real data, a class a kind; importing them imports nothing heavy."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from modelcollapse.regimes import Regime, rows_of
from modelcollapse.settings import EXECUTION, FILES, FILES_OR_HUB, Count, Positive, Range, Reserve, Seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


UNPACKED_GB = 20.0
"""Gigabytes that a compressed file may unpack to, unless the settings say more."""


@dataclass(frozen=True)
class LanguageSettings:
    """The built-in language: a hidden Markov model whose probabilities are known exactly."""

    topics: Annotated[int, Range(low=1, high=8)] = 8
    """Number of topics; each has words of its own."""
    zipf_exponent: Annotated[float, Range(low=0, high=3)] = 1.1
    """Exponent of the word frequencies within a part of speech."""
    topic_persistence: Annotated[float, Range(low=0, high=1)] = 0.7
    """Probability that the next sentence stays with the topic."""
    smoothing: Annotated[float, Range(low=1e-6, high=1)] = 0.001
    """Share of every state's words and successors that is spread evenly over all: no text is impossible."""


@dataclass(frozen=True)
class KnownLanguageSettings:
    """Blocks drawn from a language whose probabilities are known; fresh real data are unlimited."""

    has_own_vocabulary: ClassVar[bool] = True
    """Whether the data bring the words that a language model's tokens are."""
    has_known_truth: ClassVar[bool] = True
    """Whether the probability of every text is known."""
    is_endless: ClassVar[bool] = True
    """Whether there is always more of them."""
    line_start_token: ClassVar[bool] = False
    """Words have no lines."""
    reserve: ClassVar[float] = 0.0
    """Nothing needs to be set aside."""

    kind: str
    """Names the kind of data."""
    name: Annotated[str, EXECUTION]
    """Name for people and figures."""
    block_length: Annotated[int, Range(low=2)]
    """Tokens per block."""
    train_blocks: Count
    """Blocks of the training split (the n of the regimes)."""
    validation_blocks: Count
    """Blocks of the validation split."""
    test_blocks: Count
    """Blocks of the test split."""
    seed: Seed
    """Seed of the real data, common to all chains."""

    @property
    def real_rows(self) -> int:
        """Blocks of the training split."""
        return self.train_blocks

    @property
    def reserved_rows(self) -> None:
        """The language never ends."""


@dataclass(frozen=True)
class LanguageDataSettings(KnownLanguageSettings):
    """Real data drawn from the built-in language."""

    kind: Literal["language"]
    """Names the kind of data."""
    language: LanguageSettings
    """The hidden Markov model."""


@dataclass(frozen=True)
class TextSettings:
    """How text becomes blocks: tokenised line by line, concatenated, cut, the remainder dropped."""

    has_own_vocabulary: ClassVar[bool] = False
    """Whether the data bring the words that a language model's tokens are."""
    has_known_truth: ClassVar[bool] = False
    """Whether the probability of every text is known."""
    is_endless: ClassVar[bool] = False
    """Whether there is always more of them."""

    kind: str
    """Names the kind of data."""
    name: Annotated[str, EXECUTION]
    """Name for people and figures."""
    block_length: Annotated[int, Range(low=2)]
    """Tokens per block."""
    line_start_token: bool
    """Whether the tokenizer's start token stands before every line, as OPT's tokenizer puts it."""
    train_blocks: Count | None
    """Blocks of the training split, counted before the reserve is set aside; null takes all."""
    evaluation_blocks: Count | None
    """Blocks of each of the validation and test splits; null takes all."""
    reserve: Reserve
    """Share of the training blocks set aside for regimes that need fresh real data."""
    unpacked_gb: Annotated[Positive, EXECUTION] = field(default=UNPACKED_GB, kw_only=True)
    """Gigabytes that a gzipped file may unpack to."""

    @property
    def real_rows(self) -> None:
        """Known once the text has been read."""

    @property
    def reserved_rows(self) -> None:
        """Known once the text has been read."""


@dataclass(frozen=True)
class TextFilesDataSettings(TextSettings):
    """Real data from plain or gzipped text files."""

    kind: Literal["text_files"]
    """Names the kind of data."""
    train: Annotated[str, FILES]
    """File of the training split."""
    validation: Annotated[str, FILES]
    """File of the validation split."""
    test: Annotated[str, FILES]
    """File of the test split."""


@dataclass(frozen=True)
class HubDataSettings(TextSettings):
    """Real data from a text data set of the Hugging Face hub, or a local copy of one."""

    kind: Literal["hub"]
    """Names the kind of data."""
    path: Annotated[str, FILES_OR_HUB]
    """Hub id, or a local folder: a copy of the repository, a saved data set, or WikiText's raw files."""
    configuration: str | None
    """Configuration of the data set."""
    revision: str | None
    """Commit of the hub repository."""
    column: str
    """Column that holds the text."""
    train: str
    """Name of the training split."""
    validation: str
    """Name of the validation split."""
    test: str
    """Name of the test split."""


LanguageModelData = KnownLanguageSettings | TextSettings
"""What a language model is fitted to."""

DIGITS = 1797
"""How many digits scikit-learn has."""


@dataclass(frozen=True)
class ImageSettings:
    """How images become splits."""

    kind: str
    """Names the kind of data."""
    name: Annotated[str, EXECUTION]
    """Name for people and figures."""
    train_rows: Count | None
    """Images of the training split, counted before the reserve is set aside; null takes all that are left."""
    validation_rows: Count
    """Images held out of the training images for validation."""
    test_rows: Count | None
    """Images of the test split; null takes all."""
    reserve: Reserve
    """Share of the training images set aside for regimes that need fresh real data."""

    @property
    def training_images(self) -> int | None:
        """Images of the training split, the reserve among them, where the settings say so."""
        return self.train_rows

    @property
    def real_rows(self) -> int | None:
        """Images that are trained on, where the settings say so."""
        images = self.training_images
        return None if images is None else images - rows_of(self.reserve, images)

    @property
    def reserved_rows(self) -> int | None:
        """Images that are set aside, where the settings say so."""
        images = self.training_images
        return None if images is None else rows_of(self.reserve, images)

    def size_problems(self) -> list[str]:
        """Why there are not so many images, where the settings say how many there are; a message a problem."""
        return []


@dataclass(frozen=True)
class DigitsDataSettings(ImageSettings):
    """Real data that need no network: scikit-learn's 1,797 handwritten digits, resized from 8 x 8 to 28 x 28."""

    kind: Literal["digits"]
    """Names the kind of data."""
    test_rows: Count
    """Images of the test split."""

    @property
    def training_images(self) -> int:
        """Those that the other splits leave, unless the settings say how many."""
        return DIGITS - self.validation_rows - self.test_rows if self.train_rows is None else self.train_rows

    def size_problems(self) -> list[str]:
        """More images than there are digits."""
        if (self.train_rows or 1) + self.validation_rows + self.test_rows <= DIGITS:
            return []
        rows = "null" if self.train_rows is None else self.train_rows
        return [
            f"data.train_rows, data.validation_rows, data.test_rows: {rows}, {self.validation_rows}, {self.test_rows}"
            f" must be at most the {DIGITS} digits together, one or more for training among them"
        ]


@dataclass(frozen=True)
class ImagesDataSettings(ImageSettings):
    """Real data from idx files, or from an image data set of the Hugging Face hub or a local copy of one."""

    kind: Literal["images"]
    """Names the kind of data."""
    path: Annotated[str, FILES_OR_HUB]
    """Hub id, or a local folder: four idx files (plain or gzipped), a copy of the repository, or a saved data set."""
    revision: str | None
    """Commit of the hub repository."""
    image_column: str
    """Column of the images, where these are no idx files."""
    label_column: str
    """Column of the labels, where these are no idx files."""
    unpacked_gb: Annotated[Positive, EXECUTION] = field(default=UNPACKED_GB, kw_only=True)
    """Gigabytes that a gzipped file may unpack to."""


@dataclass(frozen=True)
class SamplesSettings:
    """Real data drawn from a known distribution; fresh real data are unlimited."""

    kind: str
    """Names the kind of data."""
    name: Annotated[str, EXECUTION]
    """Name for people and figures; not in any key."""
    rows: Count
    """Real rows (the n of the regimes, the M of the paper)."""

    @property
    def real_rows(self) -> int:
        """Rows of H."""
        return self.rows

    @property
    def reserved_rows(self) -> None:
        """The distribution never ends."""


SMALLEST_VARIANCE = 1e-12
Coordinate = Annotated[float, Range(low=-1e12, high=1e12)]


@dataclass(frozen=True)
class GaussianSamplesSettings(SamplesSettings):
    """Real data drawn from a known Gaussian."""

    kind: Literal["gaussian_samples"]
    """Names the kind of data."""
    mean: tuple[Coordinate, ...]
    """The true mean; its length is the dimension."""
    covariance: tuple[tuple[Coordinate, ...], ...]
    """The true covariance, one row a dimension."""

    @property
    def numbers_per_row(self) -> int:
        """The dimension."""
        return len(self.mean)


def shape_problems(model: object, data: GaussianSamplesSettings, decoding: object, regime: Regime) -> list[str]:
    """Why there is no such Gaussian."""
    dimension = len(data.mean)
    if dimension == 0:
        return ["data.mean: [] is not allowed; it must have a number for every dimension"]
    if [len(row) for row in data.covariance] != [dimension] * dimension:
        shown = [list(row) for row in data.covariance]
        return [
            f"data.covariance: {shown} must have {dimension} rows of {dimension} numbers, as data.mean has {dimension}"
        ]
    if not _is_positive_definite(data.covariance):
        return [f"data.covariance: {[list(row) for row in data.covariance]} must be symmetric and positive definite"]
    if any(row[i] < SMALLEST_VARIANCE for i, row in enumerate(data.covariance)):
        return [f"data.covariance: every variance must be at least {SMALLEST_VARIANCE:g}"]
    return []


def singularity_problems(model: object, data: GaussianSamplesSettings, decoding: object, regime: Regime) -> list[str]:
    """Why there are too few rows to estimate a covariance."""
    dimension = len(data.mean)
    if dimension == 0 or data.rows > dimension:
        return []
    return [
        f"data.rows: {data.rows} rows leave a covariance of {dimension} dimensions singular; it must be at least"
        f" {dimension + 1}"
    ]


def _is_positive_definite(matrix: tuple[tuple[float, ...], ...]) -> bool:
    """Whether it is symmetric and has a Cholesky factor; in plain Python, since settings import nothing heavy."""
    size = len(matrix)
    if any(matrix[i][j] != matrix[j][i] for i in range(size) for j in range(i)):
        return False
    factor = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(factor[i][k] * factor[j][k] for k in range(j))
            if i == j and rest <= 0:
                return False
            factor[i][j] = math.sqrt(rest) if i == j else rest / factor[j][j]
    return True


@dataclass(frozen=True)
class CategoricalSamplesSettings(SamplesSettings):
    """Real data drawn from a known categorical distribution, whose states have Zipf's probabilities."""

    kind: Literal["categorical_samples"]
    """Names the kind of data."""
    states: Annotated[int, Range(low=2)]
    """Number of states."""
    zipf_exponent: Annotated[float, Range(low=0, high=10)]
    """The state of rank r has a probability in proportion to r to minus this power; 0 makes all equal."""

    @property
    def probabilities(self) -> "NDArray[np.float64]":
        """Probability of each state, [K]."""
        return zipf(self.states, self.zipf_exponent)

    @property
    def numbers_per_row(self) -> int:
        """One: the number of a state."""
        return 1


def zipf(states: int, exponent: float) -> "NDArray[np.float64]":
    """Probabilities of ``states`` states in proportion to 1 / rank^exponent, [K]."""
    import numpy as np

    weights = np.arange(1, states + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()
