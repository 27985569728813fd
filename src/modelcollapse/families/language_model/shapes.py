"""What a network's shape says before its weights are read: its name for people, its parameters, its work.

Nothing heavy is imported: config.json is read as plain values. It is verified elsewhere, before it is used
(:mod:`modelcollapse.families.language_model.published`); what is not understood here is not known.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelcollapse.data.sources import BadSource, open_regular
from modelcollapse.families.language_model.settings import ArchitectureSettings, LanguageModelSettings

DESCRIPTION_BYTES = 2**20
LARGEST_SIZE = 2**26
SNAPSHOT = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)/snapshots/[0-9a-f]{40}")
"""Where the hub's cache keeps the files of a commit."""


@dataclass(frozen=True)
class Shape:
    """The shape of a causal language model."""

    kind: str
    """What people call networks of this kind."""
    vocabulary: int
    width: int
    """Of the residual stream."""
    layers: int
    heads: int
    inner: int
    """Width within a feed-forward block."""
    positions: int
    parameters: int
    """Weights, those that are tied counted once."""

    @property
    def bytes(self) -> int:
        """Size of its weights as they are stored: float32."""
        return 4 * self.parameters


class _Unknown(Exception):
    """A description of no network that is known here."""


def _size(values: Mapping[str, Any], default: int | None, *names: str) -> int:
    """A size under the first of its names that is there; the default stands for what is not, or is null."""
    found = next((values[name] for name in names if values.get(name) is not None), default)
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= LARGEST_SIZE:
        raise _Unknown
    return found


def _opt(values: Mapping[str, Any]) -> Shape:
    width, vocabulary = _size(values, 768, "hidden_size"), _size(values, 50_272, "vocab_size")
    layers, heads = _size(values, 12, "num_hidden_layers"), _size(values, 12, "num_attention_heads")
    inner, positions = _size(values, 3072, "ffn_dim"), _size(values, 2048, "max_position_embeddings")
    embedded = _size(values, width, "word_embed_proj_dim")
    biases = 5 * width + inner if values.get("enable_bias", True) else 0
    norm = 2 * width if values.get("layer_norm_elementwise_affine", True) else 0
    layer = 4 * width * width + 2 * width * inner + biases + 2 * norm
    has_last_norm = values.get("do_layer_norm_before", True) and not values.get("_remove_final_layer_norm", False)
    ends = vocabulary * embedded * _embeddings(values, tied=True) + (positions + 2) * width
    projections = 2 * width * embedded if embedded != width else 0
    parameters = ends + projections + layers * layer + (norm if has_last_norm else 0)
    return Shape("OPT", vocabulary, width, layers, heads, inner, positions, parameters)


def _gpt2(values: Mapping[str, Any]) -> Shape:
    width, vocabulary = _size(values, 768, "n_embd", "hidden_size"), _size(values, 50_257, "vocab_size")
    layers, heads = (
        _size(values, 12, "n_layer", "num_hidden_layers"),
        _size(values, 12, "n_head", "num_attention_heads"),
    )
    inner, positions = (
        _size(values, 4 * width, "n_inner"),
        _size(values, 1024, "n_positions", "max_position_embeddings"),
    )
    layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    ends = vocabulary * width * _embeddings(values, tied=True) + positions * width
    return Shape("GPT-2", vocabulary, width, layers, heads, inner, positions, ends + layers * layer + 2 * width)


def _llama(values: Mapping[str, Any]) -> Shape:
    width, vocabulary = _size(values, 4096, "hidden_size"), _size(values, 32_000, "vocab_size")
    layers, heads = _size(values, 32, "num_hidden_layers"), _size(values, 32, "num_attention_heads")
    inner, positions = _size(values, 11_008, "intermediate_size"), _size(values, 2048, "max_position_embeddings")
    head = _size(values, max(1, width // heads), "head_dim")
    queries, keys = heads * head, _size(values, heads, "num_key_value_heads") * head
    biases = queries + 2 * keys + width if values.get("attention_bias", False) else 0
    biases += 2 * inner + width if values.get("mlp_bias", False) else 0
    layer = 2 * width * (queries + keys) + 3 * width * inner + 2 * width + biases
    ends = vocabulary * width * _embeddings(values, tied=False)
    return Shape("Llama", vocabulary, width, layers, heads, inner, positions, ends + layers * layer + width)


def _embeddings(values: Mapping[str, Any], *, tied: bool) -> int:
    """Matrices of the vocabulary's size: one where the output weights are those of the embeddings."""
    return 1 if values.get("tie_word_embeddings", tied) else 2


KINDS: Mapping[str, Callable[[Mapping[str, Any]], Shape]] = {"opt": _opt, "gpt2": _gpt2, "llama": _llama}
"""transformers' model types, and how a config.json of each is read."""
PUBLISHED = {"facebook/opt-125m": _opt({})}
"""Repositories that options of the configuration name: their shapes are known before anything is fetched."""


def folder_shape(folder: Path) -> Shape | None:
    """The shape that a folder's config.json describes; None where it describes no network that is known."""
    try:
        with open_regular(folder / "config.json") as file:
            text = file.read(DESCRIPTION_BYTES + 1)
        described = json.loads(text) if len(text) <= DESCRIPTION_BYTES else None
    except (BadSource, OSError, ValueError, RecursionError):
        return None
    if not isinstance(described, dict):
        return None
    kind = described.get("model_type")
    try:
        return KINDS[kind](described) if isinstance(kind, str) and kind in KINDS else None
    except _Unknown:
        return None


def known_shape(model: LanguageModelSettings, vocabulary: int | None = None) -> Shape | None:
    """The shape of a model's network as far as it is known before anything is built.

    Args:
        model: settings of the model.
        vocabulary: number of tokens, where the data bring them.
    """
    if model.pretrained:
        folder = Path(model.pretrained).expanduser()
        return folder_shape(folder) if folder.is_dir() else PUBLISHED.get(model.pretrained)
    tokens = model.tokenizer.vocabulary_size or vocabulary
    return None if model.architecture is None or tokens is None else shape_of(model.architecture, tokens)


def shape_of(architecture: ArchitectureSettings, vocabulary: int) -> Shape:
    """The shape of an OPT of one's own, with so many tokens."""
    return _opt(
        {
            "hidden_size": architecture.hidden_size,
            "num_hidden_layers": architecture.layers,
            "num_attention_heads": architecture.heads,
            "ffn_dim": architecture.feedforward_size,
            "max_position_embeddings": architecture.positions,
            "vocab_size": vocabulary,
        }
    )


def shown_name(model: LanguageModelSettings) -> str:
    """The name of a model for people: the one that the settings give, or its own.

    A folder is called by what it holds and its last name, a repository of the hub by its id.
    """
    if model.name is not None:
        return model.name
    if model.pretrained is None:
        return "language model"
    folder = Path(model.pretrained).expanduser()
    return _folder_name(folder.resolve()) if folder.is_dir() else model.pretrained


def _folder_name(folder: Path) -> str:
    if cached := SNAPSHOT.search(folder.as_posix()):
        return f"{cached['owner']}/{cached['name']}"
    shape = folder_shape(folder)
    return (
        folder.name if shape is None else f"{shape.kind} of {shown_count(shape.parameters)} parameters ({folder.name})"
    )


def shown_count(count: int) -> str:
    """A number of parameters as people write it: 134.5 M."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)
