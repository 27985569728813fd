"""Settings of the language-model family: architecture, starting weights, fitting, text data, decoding."""

from dataclasses import dataclass
from typing import Annotated, Literal

from modelcollapse.regimes import RegimeSettings, synthetic_rows
from modelcollapse.settings.fitting import (
    Count,
    EpochSettings,
    NonNegative,
    OptionalCount,
    Positive,
    Reserve,
    reserve_problems,
)
from modelcollapse.settings.reading import Range


@dataclass(frozen=True)
class ArchitectureSettings:
    """The shape of an OPT network."""

    hidden_size: Count
    """Width of the residual stream; a multiple of ``heads``."""
    layers: Count
    """Number of decoder layers."""
    heads: Count
    """Attention heads per layer."""
    feedforward_size: Count
    """Width of the inner layer of each feed-forward block."""
    positions: Count
    """Longest sequence, prompt and continuation together, in tokens."""
    dropout: Annotated[float, Range(low=0, high=0.9)]
    """Dropout probability of the residual branches."""
    attention_dropout: Annotated[float, Range(low=0, high=0.9)]
    """Dropout probability of the attention weights."""


@dataclass(frozen=True)
class TokenizerSettings:
    """Where the vocabulary comes from."""

    kind: Literal["words", "byte_pairs", "pretrained"]
    """Words of the built-in language, byte-level BPE trained on the base's text, or the one beside the weights."""
    vocabulary_size: Annotated[int, Range(low=257)] | None = None
    """Number of byte-pair tokens (``byte_pairs`` only)."""
    path: str | None = None
    """Folder or hub id of a pretrained tokenizer; null takes ``model.pretrained``."""


@dataclass(frozen=True)
class TrainingSettings(EpochSettings):
    """How a network is fitted to its blocks."""

    learning_rate: Positive
    """Peak learning rate of AdamW."""
    final_learning_rate: NonNegative
    """Learning rate that a cosine schedule ends at."""
    schedule: Literal["constant", "cosine_per_epoch", "cosine_per_step"]
    """Course of the learning rate after the warm-up."""
    warmup_steps: OptionalCount
    """Steps over which the learning rate rises linearly from zero."""
    weight_decay: NonNegative
    """Decoupled weight decay of AdamW."""


@dataclass(frozen=True)
class BaseSettings:
    """A base model that the project pretrains once and then treats as the pretrained one."""

    text: str
    """Plain or gzipped text file, one paragraph a line."""
    maximum_blocks: Count | None
    """Blocks of the text that are used; null takes all."""
    validation_share: Annotated[float, Range(above=0, high=0.5)]
    """Share of the blocks, at the end of the text, held out to show the base's perplexity."""
    parts_per_epoch: Count
    """Parts of equal size that a pass is divided into: a fit goes on at the last finished part after a kill."""
    training: TrainingSettings
    """How the base is fitted."""


@dataclass(frozen=True)
class LanguageModelSettings:
    """A causal language model: an OPT, or pretrained weights of an OPT, a GPT-2 or a Llama."""

    family: Literal["language_model"]
    """Names the family."""
    name: str
    """Name for people and figures; not in any key."""
    architecture: ArchitectureSettings | None
    """Shape of the network; null where pretrained weights bring their own."""
    pretrained: str | None
    """Hub id or local folder of pretrained weights, of an OPT, a GPT-2 or a Llama."""
    revision: str | None
    """Commit of the hub repository."""
    tokenizer: TokenizerSettings
    """The vocabulary."""
    base: BaseSettings | None
    """Base to pretrain, where there are no pretrained weights."""
    init: Literal["pretrained", "generation0", "previous", "fresh"]
    """Initial weights of a generation: the pretrained ones, generation 0's, the previous generation's, random ones."""
    training: TrainingSettings
    """How each generation is fitted."""


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


@dataclass(frozen=True)
class DecodingSettings:
    """How a language model writes its synthetic set."""

    kind: Literal["beam", "sample"]
    """Beam search, or sampling word by word."""
    new_tokens: Count
    """Tokens written per prompt, exactly; must equal the block length, since the next generation trains on them."""
    prompt_tokens: Count | None
    """Last tokens of each prompt block that are given; null gives the whole block."""
    prompts: Literal["real", "previous"]
    """Prompts: the blocks of the real training split, or the previous generation's synthetic blocks."""
    beams: Annotated[int, Range(low=1, high=64)]
    """Beams of the beam search; 1 is greedy."""
    length_penalty: float
    """Exponent of the length that a finished beam's score is divided by."""
    repetition_penalty: Annotated[float, Range(low=1, high=100)]
    """Penalty on tokens that prompt or continuation already hold; 1 is none."""
    no_repeat_ngram: OptionalCount
    """No n-gram of this size occurs twice; 0 allows repeats."""
    temperature: Annotated[float, Range(above=0, high=100)]
    """Divides the logits before sampling."""
    top_k: OptionalCount
    """Samples among the k most probable tokens; 0 among all."""
    top_p: Annotated[float, Range(above=0, high=1)]
    """Samples among the most probable tokens that together hold this probability."""
    batch_size: Count
    """Prompts continued at once; not in any key."""
    workers: Count
    """Processes that write at the same time, each a batch of its own; they share the threads, and ``memory_gb``: no
    more start than it holds. On a CPU only; not in any key."""
    memory_gb: Positive
    """Gigabytes for what the prompts of a batch need while they are continued; a batch that needs more is continued in
    parts. All workers together keep to it. Weights come on top, for each worker. Native engine only; not in any key."""
    engine: Literal["auto", "native", "transformers"]
    """Code that decodes: the project's own or transformers'; auto takes the project's where it knows the model."""
    precision: Literal["32-true", "bf16-true"]
    """Arithmetic of writing; in the keys of what is written."""
    shown_prompts: OptionalCount
    """Blocks of the real test split whose continuations are shown for every generation."""
    shown_texts: tuple[str, ...]
    """Texts of your own whose continuations are shown too."""


def _start_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    problems = []
    if model.pretrained and model.base:
        problems.append("model.pretrained, model.base: both are set; set one of them to null")
    if model.init == "pretrained" and not (model.pretrained or model.base):
        problems.append(
            "model.init: 'pretrained' needs model.pretrained=PATH_OR_ID or model.base.text=FILE; without either it must"
            " be one of generation0, previous, fresh"
        )
    if model.pretrained and model.init == "fresh":
        problems.append("model.init: 'fresh' ignores model.pretrained; set model.pretrained=null and an architecture")
    return problems


def _architecture_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    if model.architecture is None and not model.pretrained:
        return ["model.architecture: is null, and no model.pretrained says what the network looks like"]
    if model.pretrained and model.architecture is not None:
        return ["model.architecture: must be null with model.pretrained, which brings its own"]
    return []


def _head_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    shape = model.architecture
    if shape is None or shape.hidden_size % shape.heads == 0:
        return []
    return [
        f"model.architecture.hidden_size: {shape.hidden_size} is not a multiple of"
        f" model.architecture.heads={shape.heads}"
    ]


def _position_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    if model.architecture is None:
        return []
    length = (decoding.prompt_tokens or data.block_length) + decoding.new_tokens
    if length <= model.architecture.positions:
        return []
    return [
        f"model.architecture.positions: {model.architecture.positions} is too short for prompt and continuation"
        f" together, {length} tokens"
    ]


def _rate_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    return _falling_rate_problems("model.training", model.training)


def _base_rate_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    return _falling_rate_problems("model.base.training", model.base.training) if model.base else []


def _falling_rate_problems(place: str, training: TrainingSettings) -> list[str]:
    if training.final_learning_rate <= training.learning_rate:
        return []
    return [
        f"{place}.final_learning_rate: {training.final_learning_rate:g} must be at most"
        f" {place}.learning_rate={training.learning_rate:g}"
    ]


def _words_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    kind = model.tokenizer.kind
    if (kind == "words") == (data.kind == "language"):
        return []
    return [
        f"model.tokenizer.kind: {kind!r} does not go with data.kind={data.kind}: the built-in language is written"
        " in words, and nothing else is (data=language goes with model=opt_tiny)"
    ]


def _tokenizer_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    kind = model.tokenizer.kind
    problems = []
    if kind == "byte_pairs" and not model.base:
        problems.append(
            "model.tokenizer.kind: 'byte_pairs' is trained on the base's text; it needs model.base.text=FILE"
        )
    if kind == "words" and model.base:
        problems.append("model.base: a base is pretrained on text; it does not go with model.tokenizer.kind=words")
    if kind == "pretrained" and not (model.tokenizer.path or model.pretrained):
        problems.append("model.tokenizer.path: is null, and there is no model.pretrained to take the tokenizer from")
    return problems


def _vocabulary_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    if model.tokenizer.kind != "byte_pairs" or model.tokenizer.vocabulary_size is not None:
        return []
    return ["model.tokenizer.vocabulary_size: is null; byte pairs need a number of tokens, at least 257"]


def _new_token_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    if decoding.new_tokens == data.block_length:
        return []
    return [
        f"decoding.new_tokens: {decoding.new_tokens} must equal data.block_length={data.block_length}, since the"
        " next generation trains on what is written"
    ]


def _prompt_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    if decoding.prompt_tokens is None or decoding.prompt_tokens <= data.block_length:
        return []
    return [f"decoding.prompt_tokens: {decoding.prompt_tokens} must be at most data.block_length={data.block_length}"]


def _beam_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    if decoding.kind != "beam" or synthetic_rows(regime, 1) <= 1:
        return []
    return [
        f"decoding.kind: 'beam' would write the same block again where regime={regime.name} asks for more blocks"
        " than there are prompts; it must be sample (decoding=sample)"
    ]


def _reserve_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, regime: RegimeSettings
) -> list[str]:
    return [] if data.kind == "language" else reserve_problems(data.reserve, regime)


CHECKS = (
    _start_problems,
    _architecture_problems,
    _head_problems,
    _rate_problems,
    _base_rate_problems,
    _words_problems,
    _tokenizer_problems,
    _vocabulary_problems,
    _new_token_problems,
    _prompt_problems,
    _position_problems,
    _beam_problems,
    _reserve_problems,
)
"""What is wrong between settings that are each allowed; each looks at few of them."""
