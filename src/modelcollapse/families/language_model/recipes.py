"""The recipes of language-model artifacts: what decides the content of each, for its key."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from modelcollapse.data import data_code, data_of
from modelcollapse.data.hub import local_folder, source_recipe
from modelcollapse.data.settings import UNPACKED_GB, LanguageModelData, TextSettings
from modelcollapse.data.sources import BadSource
from modelcollapse.data.text import text_fingerprint
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.edits.settings import PRIOR_FOLDER
from modelcollapse.families.language_model.settings import BaseSettings, LanguageModelSettings

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
        return {**recipe, "vocabulary_size": size, "text": base_text(model.base, data)}
    return {**recipe, **source_recipe(*tokenizer_source(model))}


def tokenizer_source(model: LanguageModelSettings) -> tuple[str, str | None, str]:
    """Where a pretrained tokenizer is: folder or repository, its commit, and the setting that names it."""
    path, pretrained = model.tokenizer.path, model.pretrained
    if path is None:
        return str(pretrained), model.revision, "model.pretrained"
    is_of_weights = pretrained in (None, path) or local_folder(str(pretrained), "model.pretrained") is not None
    # The commit of one repository is never asked of another.
    revision = model.tokenizer.revision or (model.revision if is_of_weights else None)
    return path, revision, "model.tokenizer.path"


def weights_recipe(model: LanguageModelSettings) -> dict[str, Any]:
    """A local folder by its content, a hub repository by its id and commit."""
    return source_recipe(str(model.pretrained), model.revision, "model.pretrained")


def prior_recipe(folder: str) -> dict[str, Any]:
    """The folder of a model by whose probabilities text is edited, by its content. Raises BadSource without one."""
    if not Path(folder).expanduser().is_dir():
        raise BadSource(f"{PRIOR_FOLDER}={folder}: there is no such folder")
    return source_recipe(folder, None, PRIOR_FOLDER)


def base_text(base: BaseSettings, data: LanguageModelData) -> str:
    """Fingerprint of the base's text."""
    return text_fingerprint(base.text, unpacked_gb(data))


def unpacked_gb(data: LanguageModelData) -> float:
    """Gigabytes that a gzipped text may unpack to."""
    return data.unpacked_gb if isinstance(data, TextSettings) else UNPACKED_GB


def real_data_recipe(data: LanguageModelData) -> dict[str, Any]:
    """What decides the blocks: a known language by its settings and seed, text by its content."""
    return {"block_length": data.block_length, **data_of(data).recipe(), **data_code(data)}


def base_data_recipe(base: BaseSettings, data: LanguageModelData) -> dict[str, Any]:
    """The base's blocks follow from its text."""
    return {
        "text": base_text(base, data),
        "block_length": data.block_length,
        "line_start_token": data.line_start_token,
        "maximum_blocks": base.maximum_blocks,
        "validation_share": base.validation_share,
    }


@dataclass(frozen=True)
class StageContext:
    """Settings of the family, and how work is executed."""

    model: LanguageModelSettings
    data: LanguageModelData
    decoding: DecodingSettings
    execution: "Execution"


BLOCKS_FILE = "blocks.safetensors"
"""What blocks are written to, by :mod:`modelcollapse.data.blocks`, which imports torch."""
PRIOR, TEXT = "prior", "text"
"""Roles of the model that an edit goes by, and of what is edited."""
TRAINING_FILE = "training.jsonl"
LOSSES_FILE = "losses.safetensors"
CONTINUATIONS_FILE = "continuations.json"


def read_losses(folder: Path) -> dict[str, np.ndarray]:
    """Losses of a finished score, in nats per token: names and shapes as the scoring stage wrote them."""
    losses: dict[str, np.ndarray] = load_file(folder / LOSSES_FILE)
    return losses
