"""Creates OPT networks; loads and saves OPT, GPT-2 and Llama networks as safetensors, never executing code."""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from transformers import OPTConfig, OPTForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from modelcollapse.data.sources import reason_of
from modelcollapse.errors import shortage
from modelcollapse.families.language_model.published import BadWeights, described_network, not_finite, verify_weights
from modelcollapse.families.language_model.settings import ArchitectureSettings
from modelcollapse.seeding import Stream

INNER_WIDTHS = {"opt": "ffn_dim", "gpt2": "n_inner", "llama": "intermediate_size"}
"""Names of the width of a feed-forward block; where it is null, it is four times the network's."""


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


def load_network(source: str | Path) -> PreTrainedModel:
    """The weights of a folder, in float32 and evaluation mode.

    Code beside the weights is never run, and pickled weights are read by torch's weights-only loader.
    Raises BadWeights if they cannot be read, if a weight of the network is missing, foreign or not finite, or if they
    are of no known kind.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise BadWeights(f"{source}: there is no such folder")
    network, report = _load(folder)
    tied = network.config.tie_word_embeddings
    missing = sorted(set(report["missing_keys"]) - ({"lm_head.weight"} if tied else set()))
    on_meta = [name for name, weight in network.named_parameters() if weight.is_meta]
    if missing or on_meta:
        raise BadWeights(f"{source}: weights are missing: {', '.join([*missing, *on_meta][:5])}")
    if misshapen := sorted(name for name, *_ in report["mismatched_keys"]):
        raise BadWeights(f"{source}: weights have another shape than config.json says: {', '.join(misshapen[:5])}")
    if foreign := sorted(name for name in report["unexpected_keys"] if not HARMLESS.search(name)):
        raise BadWeights(f"{source}: weights belong to another network: {', '.join(foreign[:5])}")
    if tied and output_weight(network) is not network.get_input_embeddings().weight:
        raise BadWeights(f"{source}: the output weights are not tied to the embeddings")
    return network


def load_published(folder: Path) -> PreTrainedModel:
    """As :func:`load_network`, of weights from elsewhere: looked at before anything is allocated, and afterwards.

    Raises BadWeights also where weights are infinite or no numbers.
    """
    verify_weights(folder)
    network = load_network(folder)
    if broken := not_finite(network):
        raise BadWeights(f"{folder}: weights are infinite or no numbers: {', '.join(broken[:5])}")
    return network


HARMLESS = re.compile(r"(^|\.)(decoder\.version|attn\.(masked_)?bias|rotary_emb\.inv_freq|lm_head\.weight)$")
"""What files hold beside weights: versions, masks, frequencies, and output weights that are those of the embeddings."""


def _load(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    network_class, _ = described_network(folder)
    try:
        loaded: Any = network_class.from_pretrained(
            str(folder),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            weights_only=True,
        )
    except UnpicklingError as error:
        raise BadWeights(
            f"{folder}: its pytorch_model.bin holds more than tensors; reading it could run code, and is refused"
        ) from error
    except Exception as error:
        # The library raises errors of all kinds for what files hold.
        if shortage(error):
            raise
        raise BadWeights(f"{folder}: no weights could be loaded from there ({reason_of(error)})") from error
    network, report = loaded
    assert isinstance(network, PreTrainedModel)
    return network, report


def network_config(folder: Path) -> PretrainedConfig:
    """The folder's config.json, under the names that all kinds of network share."""
    return described_network(folder)[1]


def network_without_weights(folder: Path) -> PreTrainedModel:
    """The network of a folder as far as its shape goes: its weights are on the device that holds none."""
    network_class, config = described_network(folder)
    with torch.device("meta"):
        return network_class(config)


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
