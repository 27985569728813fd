"""The inputs that artifacts of a VAE chain offer to metrics, by name."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from modelcollapse.families.vae.settings import VaeSettings
from modelcollapse.metrics.base import Input, Subject
from modelcollapse.selections.recipes import CANDIDATES, SYNTHETIC

if TYPE_CHECKING:
    import torch

REAL_SPLITS = ("validation", "test")


def metric_subjects(model: VaeSettings, selects: bool) -> list[Subject]:
    """The subjects of a generation's metrics; ``selects``: a selection has kept a part of what was generated.

    ============================  ============================================================================
    of the samples, ``synthetic``
    ``latents``                   latent means under generation 0's encoder, [rows, latents]
    ``features``, ``logits``      of the classifier, [rows, d] and [rows, classes]
    ``real_latents``, ...         the same of real test images
    ``neighbours``                ``model.evaluation.neighbours``
    ``generated_amount``          images that were generated for the set, where ``model.synthesis=fixed``
    of a real split
    ``mean_reconstruction_loss``, ``mean_kl``  over images, in nats, floats
    ``reconstruction_losses``, ``kls``  of every image, float32 [images]
    of the real test images that samples are compared with, ``real``
    ``latents``, ``features``, ``logits``  as above
    of a model
    ``classifier_test_accuracy``  a float
    ============================  ============================================================================
    """
    seen = ("latents", "features", "logits")
    of_samples = {name: _measured(name) for name in (*seen, *(f"real_{name}" for name in seen))}
    neighbours = model.evaluation.neighbours
    of_samples["neighbours"] = Input(lambda folders: neighbours, recipe=neighbours)
    if model.synthesis == "fixed":
        of_samples["generated_amount"] = _image_count(CANDIDATES if selects else SYNTHETIC)
    return [
        *(Subject("real", f"{split}/", _losses(split)) for split in REAL_SPLITS),
        Subject("synthetic", "synthetic/", of_samples),
        Subject("real", "real/", {name: _measured(f"real_{name}") for name in seen}),
        Subject("model", "", {"classifier_test_accuracy": _accuracy()}),
    ]


def _losses(split: str) -> dict[str, Input]:
    def loss(name: str) -> Input:
        return Input(lambda folders: _read_losses(folders["scores"])[f"{split}.{name}"], ("scores",))

    def mean(name: str) -> Input:
        return Input(lambda folders: float(_read_losses(folders["scores"])[f"{split}.{name}"]), ("scores",))

    return {
        "mean_reconstruction_loss": mean("mean_reconstruction"),
        "mean_kl": mean("mean_kl"),
        "reconstruction_losses": loss("reconstruction"),
        "kls": loss("kl"),
    }


def _image_count(role: str) -> Input:
    def count(folders: Mapping[str, Path]) -> int:
        from modelcollapse.data.images import image_count

        return image_count(folders[role], "train")

    return Input(count, (role,))


def _measured(name: str) -> Input:
    def load(folders: Mapping[str, Path]) -> "torch.Tensor":
        return _read_measured(folders["measures"])[name]

    return Input(load, ("measures",))


def _accuracy() -> Input:
    return Input(lambda folders: float(_read_measured(folders["measures"])["classifier_test_accuracy"]), ("measures",))


@lru_cache(maxsize=2)
def _read_losses(folder: Path) -> "dict[str, torch.Tensor]":
    from modelcollapse.families.vae.published import read_losses

    return read_losses(folder)


@lru_cache(maxsize=2)
def _read_measured(folder: Path) -> "dict[str, torch.Tensor]":
    from modelcollapse.families.vae.published import read_measured

    return read_measured(folder)
