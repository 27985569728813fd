"""What a folder of published weights says of itself, checked before anything is allocated or loaded."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import safe_open
from transformers import GPT2LMHeadModel, LlamaForCausalLM, OPTForCausalLM, PretrainedConfig, PreTrainedModel

from modelcollapse.data.sources import BadSource, files_in_view, open_regular, reason_of

NETWORKS: dict[str, type[PreTrainedModel]] = {
    "opt": OPTForCausalLM,
    "gpt2": GPT2LMHeadModel,
    "llama": LlamaForCausalLM,
}
"""Networks that can be fitted, by transformers' model types; the native engine knows them all."""
SIZES = {
    "num_hidden_layers": 1000,
    "hidden_size": 2**17,
    "num_attention_heads": 4096,
    "num_key_value_heads": 4096,
    "vocab_size": 2**24,
    "max_position_embeddings": 2**26,
    "ffn_dim": 2**20,
    "n_inner": 2**20,
    "intermediate_size": 2**20,
    "word_embed_proj_dim": 2**17,
    "head_dim": 2**16,
}
"""Sizes that a config.json may name, and the largest that any network has."""
OPTIONAL_SIZES = ("n_inner", "head_dim", "num_key_value_heads")
"""Those that may be null."""
SHARES = ("dropout", "attention_dropout", "layerdrop", "resid_pdrop", "embd_pdrop", "attn_pdrop")
"""Probabilities that a config.json may name."""
REFUSED = {
    "quantization_config": "its weights are quantised, and cannot be fitted; take the weights that they were made from",
}
"""Entries of config.json that no network here can honour, each with the reason."""
DESCRIPTION_BYTES = 2**24
WEIGHTS, PICKLED = "model.safetensors", "pytorch_model.bin"


class BadWeights(BadSource):
    """Weights that do not make a whole network; the message names what is wrong."""


def described_network(folder: Path) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    """Class and configuration of a folder's network, of a size that a network can have. Raises BadWeights."""
    described = _read_json(folder, "config.json")
    found = described.get("model_type")
    if not isinstance(found, str) or found not in NETWORKS:
        raise BadWeights(f"{folder}: holds a model of type {found}; it must be one of {', '.join(NETWORKS)}")
    for name, reason in REFUSED.items():
        if described.get(name) is not None:
            raise BadWeights(f"{folder}: config.json has {name}: {reason}")
    network_class = NETWORKS[found]
    config_class: Any = network_class.config_class
    # Read before the library does, which computes with some of them.
    names = {own: name for name, own in config_class.attribute_map.items()}
    values = {names.get(name, name): value for name, value in described.items()}
    _refuse(folder, [*_size_problems(values), *_share_problems(described)])
    try:
        config: PretrainedConfig = config_class.from_dict(described)
    except Exception as error:
        # The library raises errors of all kinds for what a file holds.
        raise BadWeights(f"{folder}: config.json describes no network ({reason_of(error)})") from error
    _refuse(folder, _shape_problems(config))
    return network_class, config


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        with open_regular(path) as file:
            text = file.read(DESCRIPTION_BYTES + 1)
        if len(text) > DESCRIPTION_BYTES:
            raise BadWeights(
                f"{folder}: no weights could be loaded from there ({name} is no description: it is too long)"
            )
        described = json.loads(text)
    except BadSource as error:
        if isinstance(error, BadWeights):
            raise
        raise BadWeights(f"{folder}: no weights could be loaded from there ({name}: there is no such file)") from error
    except (ValueError, RecursionError) as error:
        raise BadWeights(
            f"{folder}: no weights could be loaded from there ({name} is no JSON: {reason_of(error)})"
        ) from error
    if not isinstance(described, dict):
        raise BadWeights(f"{folder}: no weights could be loaded from there ({name} holds no description)")
    return described


def _refuse(folder: Path, problems: list[str] | Iterator[str]) -> None:
    if found := list(problems):
        raise BadWeights(f"{folder}: config.json: {'; '.join(found)}")


def _size_problems(values: Mapping[str, Any]) -> Iterator[str]:
    for name, largest in SIZES.items():
        value = values.get(name, 1)
        if value is None and name in OPTIONAL_SIZES:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
            yield f"{name} is {_shown(value)}; it must be a whole number from 1 to {largest}"


def _share_problems(described: Mapping[str, Any]) -> Iterator[str]:
    for name in SHARES:
        value = described.get(name, 0.0)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
            yield f"{name} is {_shown(value)}; it must be a number from 0 to below 1"


def _shape_problems(config: PretrainedConfig) -> Iterator[str]:
    width, heads = config.hidden_size, config.num_attention_heads
    if width % heads and getattr(config, "head_dim", None) is None:
        yield f"hidden_size is {width}, which is no multiple of num_attention_heads={heads}"
    grouped = getattr(config, "num_key_value_heads", None)
    if grouped is not None and heads % grouped:
        yield f"num_attention_heads is {heads}, which is no multiple of num_key_value_heads={grouped}"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


# ---- weights --------------------------------------------------------------------------------------------------------


def verify_weights(folder: Path) -> None:
    """Check that the folder's files hold tensors of the shapes that its configuration leads to; none is read.

    Raises BadWeights.
    """
    network_class, config = described_network(folder)
    if adapters := [name for name in files_in_view(folder) if name.startswith("adapter_")]:
        raise BadWeights(f"{folder}: {adapters[0]} changes weights when they are loaded; merge it into them first")
    files = weight_files(folder)
    try:
        with torch.device("meta"):
            network: PreTrainedModel = network_class(config)
    except Exception as error:
        raise BadWeights(f"{folder}: config.json describes no network ({reason_of(error)})") from error
    _verify_shapes(folder, {name: shape for file in files for name, shape in _shapes(folder, file)}, network)


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder's weights, one or several by an index, which names no other files than the folder's."""
    names = files_in_view(folder)
    for whole in (WEIGHTS, PICKLED):
        if whole in names:
            return [folder / whole]
        if f"{whole}.index.json" in names:
            index = _read_json(folder, f"{whole}.index.json").get("weight_map")
            parts = sorted({str(name) for name in index.values()}) if isinstance(index, dict) else []
            if unknown := [name for name in parts if name not in names or not name.endswith(Path(whole).suffix)]:
                raise BadWeights(
                    f"{folder}: {whole}.index.json names {unknown[0]}, which is no such file of the folder"
                )
            if parts:
                return [folder / name for name in parts]
    raise BadWeights(f"{folder}: no weights could be loaded from there (it holds no {WEIGHTS} and no {PICKLED})")


def _shapes(folder: Path, file: Path) -> Iterator[tuple[str, list[int]]]:
    """Names and shapes of the tensors of a file."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                yield from [(name, tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118
        else:
            pickled = torch.load(file, map_location="meta", weights_only=True)
            yield from [(name, list(tensor.shape)) for name, tensor in pickled.items()]
    except UnpicklingError as error:
        raise BadWeights(
            f"{folder}: its {file.name} holds more than tensors; reading it could run code, and is refused"
        ) from error
    except Exception as error:
        raise BadWeights(
            f"{folder}: no weights could be loaded from there ({file.name}: {reason_of(error)})"
        ) from error


def _verify_shapes(folder: Path, found: Mapping[str, list[int]], network: PreTrainedModel) -> None:
    prefix = f"{network.base_model_prefix}."
    shapes = {name: list(weight.shape) for name, weight in network.named_parameters()}
    there = {name: found.get(name, found.get(name.removeprefix(prefix))) for name in shapes}
    # Parameters that are tied are named once, by the first of their names.
    if missing := [name for name, shape in there.items() if shape is None]:
        raise BadWeights(f"{folder}: weights are missing: {', '.join(missing[:5])}")
    if misshapen := [name for name, shape in shapes.items() if there[name] != shape]:
        raise BadWeights(f"{folder}: weights have another shape than config.json says: {', '.join(misshapen[:5])}")


def not_finite(network: PreTrainedModel) -> list[str]:
    """Names of weights that hold infinities or NaN."""
    return [name for name, weight in network.named_parameters() if not math.isfinite(weight.detach().sum().item())]
