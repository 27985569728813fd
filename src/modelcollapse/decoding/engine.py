"""The interface of decoding engines, and the choice of one."""

from typing import TYPE_CHECKING, Any, Protocol

from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.errors import UserError
from modelcollapse.registry import registry
from modelcollapse.seeding import Stream
from modelcollapse.settings import identity_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FIELDS = "fields"
"""Option of a decoding's member: the settings that it reads; by default all that are identity."""
NATIVE_MODEL_TYPES = frozenset({"opt", "gpt2", "llama"})
"""Models that the native engine knows, by transformers' names."""


class Engine(Protocol):
    """Continues prompts by exactly the settings' number of new tokens."""

    network: "PreTrainedModel"

    def continue_prompts(self, prompts: "torch.Tensor", group: int) -> "torch.Tensor":
        """New tokens [prompts, new tokens] after prompts [prompts, length].

        ``group`` numbers the batch: with sampling, a batch is a function of the stream, the group and its prompts.
        """
        ...


def engine_for(network: "PreTrainedModel", settings: DecodingSettings, stream: Stream) -> Engine:
    """The engine of ``beam`` and ``sample`` for this network, which is the engine's from then on.

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
    """The settings that decide the generated tokens: those that the decoding reads, where its member lists them."""
    member = registry("decodings")[settings.kind]
    if FIELDS not in member.options:
        return {**identity_of(settings), "version": member.version}
    identity = identity_of(settings)
    read = {name: identity[name] for name in member.options[FIELDS] if name in identity}
    return {**read, "engine": engine_name(settings, model_type)}


def decoding_engine(network: "PreTrainedModel", settings: DecodingSettings, stream: Stream) -> Engine:
    """The engine of the decoding that the settings name, over a network which is the engine's from then on."""
    engine: Engine = registry("decodings")[settings.kind].load()(network, settings, stream)
    return engine


def is_native(settings: DecodingSettings, model_type: str) -> bool:
    """Whether the project's own code decodes, which bounds the memory that it takes."""
    is_own = registry("decodings")[settings.kind].load() is engine_for
    return is_own and engine_name(settings, model_type) == "native"
