"""The recipes of language-model artifacts: what decides the content of each, for its key."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from modelcollapse.data import data_code, data_of
from modelcollapse.data.settings import LanguageModelData
from modelcollapse.data.text import fingerprint
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.families.language_model.settings import ArchitectureSettings, BaseSettings, LanguageModelSettings

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution


MODEL_TYPE = "opt"
"""What transformers calls the family's networks."""


def tokenizer_recipe(model: LanguageModelSettings, data: LanguageModelData) -> dict[str, Any]:
    """Words are those of a known language; byte pairs follow from the base's text and their number."""
    kind = model.tokenizer.kind
    recipe: dict[str, Any] = {"kind": kind}
    if data.has_own_vocabulary:
        return {**recipe, **data_of(data).vocabulary_recipe()}
    if kind == "byte_pairs" and model.base:
        size = model.tokenizer.vocabulary_size
        return {**recipe, "vocabulary_size": size, "text": fingerprint(model.base.text)}
    return {**recipe, **weights_source(model.tokenizer.path or str(model.pretrained), model.revision)}


def weights_source(source: str, revision: str | None) -> dict[str, Any]:
    """A local folder by its content, a hub repository by its id and commit."""
    if Path(source).expanduser().is_dir():
        return {"folder": fingerprint(source)}
    return {"hub": source, "revision": revision}


def real_data_recipe(data: LanguageModelData) -> dict[str, Any]:
    """What decides the blocks: a known language by its settings and seed, text by its content."""
    return {"block_length": data.block_length, **data_of(data).recipe(), **data_code(data)}


def base_data_recipe(base: BaseSettings, block_length: int, line_start_token: bool) -> dict[str, Any]:
    """The base's blocks follow from its text."""
    return {
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
    data: LanguageModelData
    decoding: DecodingSettings
    execution: "Execution"


TRAINING_FILE = "training.jsonl"
LOSSES_FILE = "losses.safetensors"
CONTINUATIONS_FILE = "continuations.json"


def read_losses(folder: Path) -> dict[str, np.ndarray]:
    """Losses of a finished score, in nats per token: names and shapes as the scoring stage wrote them."""
    losses: dict[str, np.ndarray] = load_file(folder / LOSSES_FILE)
    return losses
