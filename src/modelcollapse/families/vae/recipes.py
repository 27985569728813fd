"""What decides the content of each VAE artifact: the recipes behind the keys of the store."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.data.idx import PARTS, idx_files
from modelcollapse.data.settings import DigitsDataSettings, ImageDataSettings
from modelcollapse.data.text import fingerprint
from modelcollapse.families.vae.settings import VaeArchitectureSettings, VaeSettings
from modelcollapse.seeding import Stream

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution


VERSIONS = {
    "data": 1,
    "fit": 2,
    "synthetic": 1,
    "classifier": 2,
    "scores": 3,
    "measures": 2,
}
"""Raised by hand when a stage comes to mean something else, so that what was stored before is not used."""

INSTRUMENT_SEED = 0
"""The classifier and the noise of scoring are instruments: the same ones for chains of every seed."""
CLASSIFIER_STREAM = Stream(INSTRUMENT_SEED, 0, "classifier")
SCORING_STREAM = Stream(INSTRUMENT_SEED, 0, "scoring")


def real_data_recipe(data: ImageDataSettings) -> dict[str, Any]:
    """The images, and how they are split."""
    sizes = ("train_rows", "validation_rows", "test_rows", "reserve")
    split = {name: getattr(data, name) for name in sizes}
    return {"version": VERSIONS["data"], "source": _source_recipe(data), **split}


def _source_recipe(data: ImageDataSettings) -> dict[str, Any]:
    """Idx files and local folders by content, the hub by id and commit."""
    if isinstance(data, DigitsDataSettings):
        return {"digits": "scikit-learn"}
    folder = Path(data.path).expanduser()
    files = {part: idx_files(folder, part) for part in PARTS}
    if all(files.values()):
        return {"files": {part: [fingerprint(file) for file in found or ()] for part, found in files.items()}}
    columns = {"columns": [data.image_column, data.label_column]}
    if folder.is_dir():
        return {"folder": fingerprint(folder), **columns}
    return {"hub": data.path, "revision": data.revision, **columns}


def parameter_count(architecture: VaeArchitectureSettings) -> int:
    """Number of weights of a VAE of this shape; 647,081 for the paper's 64 channels and 20 latents."""
    channels, features = architecture.channels, 2 * architecture.channels * 49
    encoder = 17 * channels + (16 * channels + 1) * 2 * channels + 2 * (features + 1) * architecture.latents
    return encoder + decoder_parameter_count(architecture)


def decoder_parameter_count(architecture: VaeArchitectureSettings) -> int:
    """Number of weights of the decoder alone."""
    channels, features = architecture.channels, 2 * architecture.channels * 49
    return (architecture.latents + 1) * features + (32 * channels + 1) * channels + 16 * channels + 1


@dataclass(frozen=True)
class StageContext:
    """Settings of the family, and how work is executed."""

    model: VaeSettings
    data: ImageDataSettings
    execution: "Execution"


NETWORK_FILE = "network.safetensors"
DECODER_FILE = "decoder.safetensors"
STREAM_FILE = "stream.json"
TRAINING_FILE = "training.jsonl"
LOSSES_FILE = "losses.safetensors"
MEASURED_FILE = "measured.safetensors"
CLASSIFIER_FILE = "classifier.json"
