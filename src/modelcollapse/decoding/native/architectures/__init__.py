"""The kinds of network that the engine knows, by transformers' model types."""

from collections.abc import Callable

from transformers import PreTrainedModel

from modelcollapse.decoding.native.architectures.gpt2 import GPT2Network
from modelcollapse.decoding.native.architectures.llama import LlamaNetwork
from modelcollapse.decoding.native.architectures.opt import OPTNetwork
from modelcollapse.decoding.native.network import Network

ARCHITECTURES: dict[str, Callable[..., Network]] = {
    "opt": OPTNetwork,
    "gpt2": GPT2Network,
    "llama": LlamaNetwork,
}


def network_for(source: PreTrainedModel, rows: int) -> Network:
    """The engine's form of a network of transformers, its type and device kept, for about ``rows`` rows at a time."""
    return ARCHITECTURES[source.config.model_type](source, rows)
