"""Settings of a language model: architecture, starting weights, fitting."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.data.settings import LanguageModelData
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.regimes import Regime
from modelcollapse.regimes.availability import reserve_problems
from modelcollapse.registry import Choice, Registered
from modelcollapse.selections.settings import SelectionSettings, lacking
from modelcollapse.settings import (
    EXECUTION,
    FILES,
    FILES_OR_HUB,
    Count,
    IntroducedAs,
    NonNegative,
    OptionalCount,
    Positive,
    Range,
)
from modelcollapse.training.settings import EpochSettings

ADAMW, CROSS_ENTROPY = Choice("optimizers", "adamw"), Choice("losses", "cross_entropy")


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
    path: Annotated[str, FILES_OR_HUB] | None = None
    """Folder or hub id of a pretrained tokenizer; null takes ``model.pretrained``."""
    revision: Annotated[str | None, IntroducedAs(None)] = None
    """Commit of the tokenizer's hub repository; null takes ``model.revision`` where the weights are of no other one."""


@dataclass(frozen=True)
class TrainingSettings(EpochSettings):
    """How a network is fitted to its blocks."""

    learning_rate: Positive
    """Peak learning rate."""
    final_learning_rate: NonNegative
    """Learning rate that a falling schedule ends at."""
    schedule: Annotated[Any, Registered("schedules")]
    """Course of the learning rate after the warm-up."""
    warmup_steps: OptionalCount
    """Steps over which the learning rate rises linearly from zero."""
    weight_decay: NonNegative
    """Weight decay: decoupled from the gradient with AdamW, an L2 penalty with others."""
    optimizer: Annotated[Any, Registered("optimizers"), IntroducedAs(ADAMW)] = ADAMW
    """Optimizer, with its settings."""
    loss: Annotated[Any, Registered("losses"), IntroducedAs(CROSS_ENTROPY)] = CROSS_ENTROPY
    """What a fit minimises; validation and scores are always of cross-entropy."""


@dataclass(frozen=True)
class TruncatedCrossEntropySettings:
    """Settings of the loss ``truncated_cross_entropy``."""

    gamma: Annotated[float, Range(above=0, high=1)] = 0.9
    """Probability above which a target does not count; 1 is cross-entropy."""


@dataclass(frozen=True)
class FocalSettings:
    """Settings of the loss ``focal``."""

    gamma: NonNegative = 2.0
    """Exponent of 1 - p, p the probability of a target; 0 is cross-entropy."""


@dataclass(frozen=True)
class BaseSettings:
    """A base model that the project pretrains once and then treats as the pretrained one."""

    text: Annotated[str, FILES]
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
    name: Annotated[str | None, EXECUTION]
    """Name for people and figures; null takes the model's own, from config.json or the hub id. Not in any key."""
    architecture: ArchitectureSettings | None
    """Shape of the network; null where pretrained weights bring their own."""
    pretrained: Annotated[str, FILES_OR_HUB] | None
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


def _start_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
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
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
) -> list[str]:
    if model.architecture is None and not model.pretrained:
        return ["model.architecture: is null, and no model.pretrained says what the network looks like"]
    if model.pretrained and model.architecture is not None:
        return ["model.architecture: must be null with model.pretrained, which brings its own"]
    return []


def _head_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
) -> list[str]:
    shape = model.architecture
    if shape is None or shape.hidden_size % shape.heads == 0:
        return []
    return [
        f"model.architecture.hidden_size: {shape.hidden_size} is not a multiple of"
        f" model.architecture.heads={shape.heads}"
    ]


def _position_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
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
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
) -> list[str]:
    return _falling_rate_problems("model.training", model.training)


def _base_rate_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
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
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
) -> list[str]:
    kind = model.tokenizer.kind
    if (kind == "words") == data.has_own_vocabulary:
        return []
    return [
        f"model.tokenizer.kind: {kind!r} does not go with data.kind={data.kind}: the built-in language is written"
        " in words, and nothing else is (data=language goes with model=opt_tiny)"
    ]


def _tokenizer_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
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
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
) -> list[str]:
    if model.tokenizer.kind != "byte_pairs" or model.tokenizer.vocabulary_size is not None:
        return []
    return ["model.tokenizer.vocabulary_size: is null; byte pairs need a number of tokens, at least 257"]


def _new_token_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
) -> list[str]:
    if decoding.new_tokens == data.block_length:
        return []
    return [
        f"decoding.new_tokens: {decoding.new_tokens} must equal data.block_length={data.block_length}, since the"
        " next generation trains on what is written"
    ]


def _prompt_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
) -> list[str]:
    if decoding.prompt_tokens is None or decoding.prompt_tokens <= data.block_length:
        return []
    return [f"decoding.prompt_tokens: {decoding.prompt_tokens} must be at most data.block_length={data.block_length}"]


def same_block_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime, generations: int
) -> list[str]:
    """Why a deterministic decoding cannot generate as many blocks as the regime asks for, if so."""
    if decoding.is_random or all(regime.generated_rows(t) <= 1 for t in {1, *regime.kinds_of_generation(generations)}):
        return []
    return [
        f"decoding.kind: {decoding.kind!r} would write the same block again where regime={regime.name} asks for more"
        " blocks than there are prompts; it must be sample (decoding=sample)"
    ]


def _reserve_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, regime: Regime
) -> list[str]:
    return [] if data.is_endless else reserve_problems(data.reserve, regime)


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
    _reserve_problems,
)
"""Each looks at few settings."""


OFFERS = ("reference_losses", "writer_losses", "texts", "real_rows", "stream")
"""What a scorer can ask for whatever the data; the built-in language knows true likelihoods too."""


def _scorer_problems(
    selection: SelectionSettings,
    model: LanguageModelSettings,
    data: LanguageModelData,
    decoding: DecodingSettings,
    regime: Regime,
    generations: int,
) -> list[str]:
    truth = ("true_log_likelihood",) if data.has_known_truth else ()
    return lacking(selection, "texts", OFFERS + truth, f"model.family={model.family} with data.kind={data.kind}")


def _same_again_problems(
    selection: SelectionSettings,
    model: LanguageModelSettings,
    data: LanguageModelData,
    decoding: DecodingSettings,
    regime: Regime,
    generations: int,
) -> list[str]:
    if not selection.is_active or selection.oversampling == 1 or decoding.is_random:
        return []
    return [
        f"selection.oversampling: {selection.oversampling:g} candidates a row would be the same block again with"
        f" decoding.kind={decoding.kind!r}; it must be 1, or decoding.kind sample (decoding=sample)"
    ]


SELECTION_CHECKS = (_scorer_problems, _same_again_problems)
"""As CHECKS, of the selection too."""
