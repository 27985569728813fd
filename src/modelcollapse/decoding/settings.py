"""Settings of decoding."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from modelcollapse.settings import EXECUTION, Count, IntroducedAs, OptionalCount, Positive, Processes, Range


@dataclass(frozen=True)
class NoDecodingSettings:
    """For families whose synthetic sets are samples of the model itself."""

    kind: Literal["none"]
    """Names the decoding."""


@dataclass(frozen=True)
class DecodingSettings:
    """Decoding: how a language model generates its synthetic set."""

    kind: Literal["beam", "sample"]
    """Beam search, or sampling word by word."""
    new_tokens: Count
    """Tokens generated per prompt, exactly; must equal the block length, since the next generation trains on them."""
    prompt_tokens: Count | None
    """Last tokens of each prompt block that are given; null gives the whole block."""
    prompts: Literal["real", "previous"]
    """Prompts: the blocks of the real training split, or the previous generation's synthetic blocks."""
    beams: Annotated[int, Range(low=1, high=64)]
    """Beams of the beam search; 1 is greedy."""
    length_penalty: Annotated[float, Range(low=-10, high=10)]
    """Exponent of the length that a finished beam's score is divided by."""
    repetition_penalty: Annotated[float, Range(low=1, high=100)]
    """Penalty on tokens that prompt or continuation already hold; 1 is none."""
    no_repeat_ngram: OptionalCount
    """No n-gram of this size occurs twice; 0 allows repeats."""
    temperature: Annotated[float, Range(low=0.001, high=100)]
    """Divides the logits before sampling."""
    top_k: OptionalCount
    """Samples among the k most probable tokens; 0 among all."""
    top_p: Annotated[float, Range(above=0, high=1)]
    """Samples among the most probable tokens that together hold this probability."""
    min_p: Annotated[float, Range(low=0, high=1), IntroducedAs(0.0)] = field(default=0.0, kw_only=True)
    """Samples among tokens of at least this part of the largest probability (Nguyen et al., arXiv 2407.01082)."""
    typical_p: Annotated[float, Range(above=0, high=1), IntroducedAs(1.0)] = field(default=1.0, kw_only=True)
    """Samples among the tokens whose information is nearest to the entropy, that together hold this probability
    (Meister et al., arXiv 2202.00666)."""
    epsilon: Annotated[float, Range(low=0, high=1), IntroducedAs(0.0)] = field(default=0.0, kw_only=True)
    """Samples among tokens of at least this probability, the most probable one in any case (Hewitt et al., arXiv
    2210.15191)."""
    batch_size: Annotated[Count, EXECUTION]
    """Prompts continued at once; not in any key."""
    workers: Annotated[Processes, EXECUTION]
    """Processes that generate at the same time, each a batch of its own; they share the threads, and ``memory_gb``: no
    more start than it holds. On a CPU only; not in any key."""
    memory_gb: Annotated[Positive, EXECUTION]
    """Gigabytes for what the prompts of a batch need while they are continued; a batch that needs more is continued in
    parts. All workers together keep to it. Weights come on top, for each worker. Native engine only; not in any key."""
    engine: Literal["auto", "native", "transformers"]
    """Code that decodes: the project's own or transformers'; auto takes the project's on a CPU, where it knows the
    model, and transformers' on a GPU. It is decided once, where a run or sweep is composed."""
    precision: Literal["32-true", "bf16-true"]
    """Arithmetic of generating; in the keys of synthetic sets."""
    shown_prompts: OptionalCount
    """Blocks of the real test split whose continuations are shown for every generation."""
    shown_texts: tuple[str, ...]
    """Texts of your own whose continuations are shown too."""

    @property
    def sequences_per_prompt(self) -> int:
        """Continuations that are advanced at once for each prompt."""
        return self.beams if self.kind == "beam" else 1

    @property
    def is_random(self) -> bool:
        """Whether a prompt can be continued in several ways."""
        return self.kind != "beam"
