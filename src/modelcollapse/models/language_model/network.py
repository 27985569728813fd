"""OPT networks: made anew, loaded, saved; weights are data and nothing else."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerBase

from modelcollapse.data.tokenizers import folder_or_id
from modelcollapse.errors import UserError
from modelcollapse.seeding import Stream
from modelcollapse.settings.language_model import ArchitectureSettings


class BadWeights(UserError):
    """Weights that are not those of a whole network; the message names what is wrong."""


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


def load_network(source: str | Path, revision: str | None = None) -> OPTForCausalLM:
    """Pretrained weights from a folder or a hub id, in float32 and evaluation mode.

    Code beside the weights is never run, and pickled weights are read by torch's weights-only loader.
    Raises BadWeights if they cannot be read, if a weight of the network is missing, or if they are not an OPT's.
    """
    network, report = _load(folder_or_id(source), revision or "main")
    missing = sorted(set(report["missing_keys"]) - {"lm_head.weight"})
    on_meta = [name for name, weight in network.named_parameters() if weight.is_meta]
    if missing or on_meta:
        raise BadWeights(f"{source}: weights are missing: {', '.join([*missing, *on_meta][:5])}")
    if misshapen := sorted(name for name, *_ in report["mismatched_keys"]):
        raise BadWeights(f"{source}: weights have another shape than config.json says: {', '.join(misshapen[:5])}")
    if network.config.tie_word_embeddings and network.lm_head.weight is not network.get_input_embeddings().weight:
        raise BadWeights(f"{source}: the output weights are not tied to the embeddings")
    return network


def _load(source: str, revision: str) -> tuple[OPTForCausalLM, dict[str, Any]]:
    try:
        described, _ = OPTConfig.get_config_dict(source, revision=revision)
        if described.get("model_type") != OPTConfig.model_type:
            raise BadWeights(f"{source}: holds a model of type {described.get('model_type')}, not an OPT")
        loaded: Any = OPTForCausalLM.from_pretrained(
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
    assert isinstance(network, OPTForCausalLM)
    return network, report


def scoring_bytes(network: OPTForCausalLM, length: int) -> int:
    """Bytes that a block of this length takes while it is scored, about: what a layer holds at its widest, float32."""
    config = network.config
    return 4 * length * (6 * config.hidden_size + 2 * config.ffn_dim)


def network_without_weights(source: Path) -> OPTForCausalLM:
    """The network of a folder as far as its shape goes: its weights are on the device that holds none."""
    with torch.device("meta"):
        return OPTForCausalLM(OPTConfig.from_pretrained(source))


def save_network(network: OPTForCausalLM, folder: Path) -> None:
    """Write the network as a Hugging Face folder with safetensors weights."""
    network.save_pretrained(folder, safe_serialization=True)
