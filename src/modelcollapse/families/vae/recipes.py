"""The recipes of VAE artifacts: what decides the content of each, for its key."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelcollapse.data import data_code, data_of
from modelcollapse.data.settings import ImageSettings
from modelcollapse.families.vae.settings import VaeArchitectureSettings, VaeSettings
from modelcollapse.seeding import Stream

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution


INSTRUMENT_SEED = 0
"""Seed of the classifier and of the noise of scoring: measuring instruments are the same for every chain."""
CLASSIFIER_STREAM = Stream(INSTRUMENT_SEED, 0, "classifier")
SCORING_STREAM = Stream(INSTRUMENT_SEED, 0, "scoring")


def real_data_recipe(data: ImageSettings) -> dict[str, Any]:
    """The images, and how they are split."""
    return {**data_of(data).recipe(), **data_code(data)}


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
    data: ImageSettings
    execution: "Execution"


IMAGES_FILE = "images.safetensors"
"""What images are written to, by :mod:`modelcollapse.data.images`, which imports torch."""
NETWORK_FILE = "network.safetensors"
DECODER_FILE = "decoder.safetensors"
STREAM_FILE = "stream.json"
TRAINING_FILE = "training.jsonl"
LOSSES_FILE = "losses.safetensors"
MEASURED_FILE = "measured.safetensors"
CLASSIFIER_FILE = "classifier.json"
