"""What every decoding engine offers, and the choice of one."""

from typing import TYPE_CHECKING, Any, Protocol

from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.errors import UserError
from modelcollapse.seeding import Stream

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

BEAM_FIELDS = ("beams", "length_penalty")
SAMPLE_FIELDS = ("temperature", "top_k", "top_p")
NATIVE_MODEL_TYPES = frozenset({"opt", "gpt2", "llama"})
"""Models that the native engine knows, by transformers' names."""
COMMON_FIELDS = ("kind", "new_tokens", "prompt_tokens", "repetition_penalty", "no_repeat_ngram")


class Engine(Protocol):
    """Continues prompts by exactly the settings' number of new tokens."""

    network: "PreTrainedModel"

    def continue_prompts(self, prompts: "torch.Tensor", group: int) -> "torch.Tensor":
        """New tokens [prompts, new tokens] after prompts [prompts, length].

        ``group`` numbers the batch: with sampling, a batch is a function of the stream, the group and its prompts.
        """
        ...


def engine_for(network: "PreTrainedModel", settings: DecodingSettings, stream: Stream) -> Engine:
    """The engine that the settings lead to for this network, which is the engine's from then on.

    ``stream`` seeds sampling. Raises UserError where the settings ask for an engine that does not know the network.
    """
    model_type = network.config.model_type
    known = model_type in NATIVE_MODEL_TYPES
    if settings.engine == "native" and not known:
        raise UserError(f"decoding.engine: 'native' does not know models of type {model_type}; it must be auto")
    if engine_name(settings, model_type) == "native":
        from modelcollapse.decoding.native import NativeEngine

        return NativeEngine(network, settings, stream)
    from modelcollapse.decoding.transformers_engine import TransformersEngine

    if not known:
        print(f"  the native engine does not know models of type {model_type}: transformers writes", flush=True)
    return TransformersEngine(network, settings, stream)


def engine_name(settings: DecodingSettings, model_type: str) -> str:
    """Name of the engine that the settings lead to for a type of model; it is part of a synthetic set's key."""
    if settings.engine == "auto":
        return "native" if model_type in NATIVE_MODEL_TYPES else "transformers"
    return settings.engine


def decoding_recipe(settings: DecodingSettings, model_type: str) -> dict[str, Any]:
    """The settings that decide what is written: only those that the kind of decoding reads."""
    fields = COMMON_FIELDS + (BEAM_FIELDS if settings.kind == "beam" else SAMPLE_FIELDS)
    return {**{name: getattr(settings, name) for name in fields}, "engine": engine_name(settings, model_type)}
