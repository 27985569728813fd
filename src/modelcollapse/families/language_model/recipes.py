"""What decides the content of each language-model artifact: the recipes behind the keys of the store."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from modelcollapse.data.settings import TextDataSettings
from modelcollapse.data.text import fingerprint, source_recipe
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.families.language_model.settings import ArchitectureSettings, BaseSettings, LanguageModelSettings
from modelcollapse.settings import identity_of

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution


MODEL_TYPE = "opt"
"""What transformers calls the family's networks."""
VERSIONS = {
    "tokenizer": 1,
    "data": 1,
    "pretrained": 1,
    "fit": 2,
    "synthetic": 1,
    "scores": 3,
    "measures": 2,
    "continuations": 1,
}
"""Raised by hand when a stage comes to mean something else: what was stored under its old meaning is not used then."""


def tokenizer_recipe(model: LanguageModelSettings, data: TextDataSettings) -> dict[str, Any]:
    """Words are those of the built-in language; byte pairs follow from the base's text and their number."""
    kind = model.tokenizer.kind
    recipe: dict[str, Any] = {"version": VERSIONS["tokenizer"], "kind": kind}
    if data.kind == "language":
        return {**recipe, "language": identity_of(data.language)}
    if kind == "byte_pairs" and model.base:
        size = model.tokenizer.vocabulary_size
        return {**recipe, "vocabulary_size": size, "text": fingerprint(model.base.text)}
    return {**recipe, **weights_source(model.tokenizer.path or str(model.pretrained), model.revision)}


def weights_source(source: str, revision: str | None) -> dict[str, Any]:
    """A local folder by its content, a hub repository by its id and commit."""
    if Path(source).expanduser().is_dir():
        return {"folder": fingerprint(source)}
    return {"hub": source, "revision": revision}


def real_data_recipe(data: TextDataSettings) -> dict[str, Any]:
    """The built-in language by its settings and seed, text by its content."""
    common: dict[str, Any] = {"version": VERSIONS["data"], "block_length": data.block_length}
    if data.kind == "language":
        sizes = {name: getattr(data, name) for name in ("train_blocks", "validation_blocks", "test_blocks")}
        return {**common, "language": identity_of(data.language), **sizes, "seed": data.seed}
    return {
        **common,
        "source": source_recipe(data),
        "line_start_token": data.line_start_token,
        "train_blocks": data.train_blocks,
        "evaluation_blocks": data.evaluation_blocks,
        "reserve": data.reserve,
    }


def base_data_recipe(base: BaseSettings, block_length: int, line_start_token: bool) -> dict[str, Any]:
    """The base's blocks follow from its text."""
    return {
        "version": VERSIONS["data"],
        "text": fingerprint(base.text),
        "block_length": block_length,
        "line_start_token": line_start_token,
        "maximum_blocks": base.maximum_blocks,
        "validation_share": base.validation_share,
    }


def parameter_count(architecture: ArchitectureSettings, vocabulary_size: int) -> int:
    """Number of weights of an OPT of this shape, output weights tied to the embeddings."""
    width, inner = architecture.hidden_size, architecture.feedforward_size
    layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    return vocabulary_size * width + (architecture.positions + 2) * width + architecture.layers * layer + 2 * width


@dataclass(frozen=True)
class StageContext:
    """Settings of the family, and how work is executed."""

    model: LanguageModelSettings
    data: TextDataSettings
    decoding: DecodingSettings
    execution: "Execution"


TRAINING_FILE = "training.jsonl"
LOSSES_FILE = "losses.safetensors"
CONTINUATIONS_FILE = "continuations.json"


def read_losses(folder: Path) -> dict[str, np.ndarray]:
    """Losses of a finished score, in nats per token: names and shapes as the stage that wrote them says."""
    losses: dict[str, np.ndarray] = load_file(folder / LOSSES_FILE)
    return losses
