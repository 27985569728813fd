"""What every decoding engine offers, and the choice of one."""

from typing import TYPE_CHECKING, Any, Protocol

from modelcollapse.seeding import Stream
from modelcollapse.settings.language_model import DecodingSettings

if TYPE_CHECKING:
    import torch
    from transformers import OPTForCausalLM

BEAM_FIELDS = ("beams", "length_penalty")
SAMPLE_FIELDS = ("temperature", "top_k", "top_p")
COMMON_FIELDS = ("kind", "new_tokens", "prompt_tokens", "repetition_penalty", "no_repeat_ngram")


class Engine(Protocol):
    """Continues prompts by exactly the settings' number of new tokens."""

    network: "OPTForCausalLM"

    def continue_prompts(self, prompts: "torch.Tensor", group: int) -> "torch.Tensor":
        """New tokens [prompts, new tokens] after prompts [prompts, length].

        ``group`` numbers the batch: with sampling, a batch is a function of the stream, the group and its prompts.
        """
        ...


def engine_for(network: "OPTForCausalLM", settings: DecodingSettings, stream: Stream) -> Engine:
    """The engine that the settings name; ``stream`` seeds sampling."""
    from modelcollapse.decoding.transformers_engine import TransformersEngine

    return TransformersEngine(network, settings, stream)


def engine_name(settings: DecodingSettings) -> str:
    """Name of the engine that the settings lead to; it is part of a synthetic set's key."""
    return "transformers"


def decoding_recipe(settings: DecodingSettings) -> dict[str, Any]:
    """The settings that decide what is written: only those that the kind of decoding reads."""
    fields = COMMON_FIELDS + (BEAM_FIELDS if settings.kind == "beam" else SAMPLE_FIELDS)
    return {**{name: getattr(settings, name) for name in fields}, "engine": engine_name(settings)}
