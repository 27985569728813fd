"""Creates OPT networks; loads and saves OPT, GPT-2 and Llama networks as safetensors, never executing code."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    GPT2LMHeadModel,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from modelcollapse.data.tokenizers import folder_or_id
from modelcollapse.errors import UserError
from modelcollapse.families.language_model.settings import ArchitectureSettings
from modelcollapse.seeding import Stream

NETWORKS: dict[str, type[PreTrainedModel]] = {
    "opt": OPTForCausalLM,
    "gpt2": GPT2LMHeadModel,
    "llama": LlamaForCausalLM,
}
"""Networks that can be fitted, by transformers' model types; the native engine knows them all."""


INNER_WIDTHS = {"opt": "ffn_dim", "gpt2": "n_inner", "llama": "intermediate_size"}
"""Names of the width of a feed-forward block; where it is null, it is four times the network's."""


class BadWeights(UserError):
    """Weights that do not make a whole network; the message names what is wrong."""


def new_network(
    architecture: ArchitectureSettings, tokenizer: PreTrainedTokenizerBase, stream: Stream
) -> OPTForCausalLM:
    """A network with random weights drawn from the stream."""
    config = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        word_embed_proj_dim=architecture.hidden_size,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        ffn_dim=architecture.feedforward_size,
        max_position_embeddings=architecture.positions,
        dropout=architecture.dropout,
        attention_dropout=architecture.attention_dropout,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with stream.global_rng():
        return OPTForCausalLM(config)


def load_network(source: str | Path, revision: str | None = None) -> PreTrainedModel:
    """Pretrained weights from a folder or a hub id, in float32 and evaluation mode.

    Code beside the weights is never run, and pickled weights are read by torch's weights-only loader.
    Raises BadWeights if they cannot be read, if a weight of the network is missing, or if they are of no known kind.
    """
    network, report = _load(folder_or_id(source), revision or "main")
    tied = network.config.tie_word_embeddings
    missing = sorted(set(report["missing_keys"]) - ({"lm_head.weight"} if tied else set()))
    on_meta = [name for name, weight in network.named_parameters() if weight.is_meta]
    if missing or on_meta:
        raise BadWeights(f"{source}: weights are missing: {', '.join([*missing, *on_meta][:5])}")
    if misshapen := sorted(name for name, *_ in report["mismatched_keys"]):
        raise BadWeights(f"{source}: weights have another shape than config.json says: {', '.join(misshapen[:5])}")
    if tied and output_weight(network) is not network.get_input_embeddings().weight:
        raise BadWeights(f"{source}: the output weights are not tied to the embeddings")
    return network


def _load(source: str, revision: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        loaded: Any = _class_of(source, revision).from_pretrained(
            source,
            revision=revision,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            weights_only=True,
        )
    except UnpicklingError as error:
        raise BadWeights(
            f"{source}: its pytorch_model.bin holds more than tensors; reading it could run code, and is refused"
        ) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadWeights(
            f"{source}: no weights could be loaded from there ({str(error).splitlines()[0]}); without a network, name"
            " a local folder with model.pretrained=FOLDER"
        ) from error
    network, report = loaded
    assert isinstance(network, PreTrainedModel)
    return network, report


def _class_of(source: str, revision: str = "main") -> type[PreTrainedModel]:
    described, _ = PretrainedConfig.get_config_dict(source, revision=revision)
    found = described.get("model_type")
    if found not in NETWORKS:
        raise BadWeights(f"{source}: holds a model of type {found}; it must be one of {', '.join(NETWORKS)}")
    return NETWORKS[found]


def network_config(folder: Path) -> PretrainedConfig:
    """The folder's config.json, under the names that all kinds of network share."""
    config_class: Any = _class_of(str(folder)).config_class
    config: PretrainedConfig = config_class.from_pretrained(folder)
    return config


def network_without_weights(folder: Path) -> PreTrainedModel:
    """The network of a folder as far as its shape goes: its weights are on the device that holds none."""
    with torch.device("meta"):
        network: PreTrainedModel = _class_of(str(folder))(network_config(folder))
        return network


def output_weight(network: PreTrainedModel) -> torch.Tensor:
    """The output projection: last hidden states [tokens, width] to logits."""
    weight: torch.Tensor = network.get_output_embeddings().weight
    return weight


def scoring_bytes(network: PreTrainedModel, length: int) -> int:
    """Bytes that a block of this length takes while it is scored, about: what a layer holds at its widest, float32."""
    width = network.config.hidden_size
    inner = getattr(network.config, INNER_WIDTHS[network.config.model_type]) or 4 * width
    return 4 * length * (6 * width + 2 * inner)


def save_network(network: PreTrainedModel, folder: Path) -> None:
    """Write the network as a Hugging Face folder with safetensors weights."""
    network.save_pretrained(folder, safe_serialization=True)
