"""Settings of a language model: architecture, starting weights, fitting."""

from dataclasses import dataclass
from typing import Annotated, Literal

from modelcollapse.settings.fitting import Count, EpochSettings, NonNegative, OptionalCount, Positive
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
