"""Settings of the real data of language models: the built-in language, text files, data sets of the hub."""

from dataclasses import dataclass
from typing import Annotated, Literal

from modelcollapse.settings.fitting import Count, OptionalCount, Reserve
from modelcollapse.settings.reading import Range


@dataclass(frozen=True)
class LanguageSettings:
    """The built-in language: a hidden Markov model whose probabilities are known exactly."""

    topics: Annotated[int, Range(low=1, high=8)] = 8
    """Number of topics; each has words of its own."""
    zipf_exponent: Annotated[float, Range(low=0, high=3)] = 1.1
    """Exponent of the word frequencies within a part of speech."""
    topic_persistence: Annotated[float, Range(low=0, high=1)] = 0.7
    """Probability that the next sentence stays with the topic."""
    smoothing: Annotated[float, Range(above=0, high=1)] = 0.001
    """Share of every state's words and successors that is spread evenly over all: no text is impossible."""


@dataclass(frozen=True)
class LanguageDataSettings:
    """Real data drawn from the built-in language."""

    kind: Literal["language"]
    """Names the kind of data."""
    name: str
    """Name for people and figures."""
    language: LanguageSettings
    """The hidden Markov model."""
    block_length: Annotated[int, Range(low=2)]
    """Tokens per block."""
    train_blocks: Count
    """Blocks of the training split (the n of the regimes)."""
    validation_blocks: Count
    """Blocks of the validation split."""
    test_blocks: Count
    """Blocks of the test split."""
    seed: OptionalCount
    """Seed of the real data, common to all chains."""

    @property
    def real_rows(self) -> int:
        """Blocks of the training split."""
        return self.train_blocks

    @property
    def reserved_rows(self) -> None:
        """The language never ends."""


@dataclass(frozen=True)
class TokenBlocksSettings:
    """How text becomes blocks: tokenised line by line, concatenated, cut, the remainder dropped."""

    name: str
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

    @property
    def real_rows(self) -> None:
        """Known once the text has been read."""

    @property
    def reserved_rows(self) -> None:
        """Known once the text has been read."""


@dataclass(frozen=True)
class TextFilesDataSettings(TokenBlocksSettings):
    """Real data from plain or gzipped text files."""

    kind: Literal["text_files"]
    """Names the kind of data."""
    train: str
    """File of the training split."""
    validation: str
    """File of the validation split."""
    test: str
    """File of the test split."""


@dataclass(frozen=True)
class HubDataSettings(TokenBlocksSettings):
    """Real data from a text data set of the Hugging Face hub, or a local copy of one."""

    kind: Literal["hub"]
    """Names the kind of data."""
    path: str
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


TextDataSettings = LanguageDataSettings | TextFilesDataSettings | HubDataSettings
