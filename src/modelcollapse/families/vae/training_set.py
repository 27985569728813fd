"""The training set of a generation of a VAE: images of its sources, held or streamed, and their weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from modelcollapse.data.image_batches import TrainingImages
from modelcollapse.data.images import SIDE, image_count, read_images
from modelcollapse.families.vae.recipes import STREAM_FILE
from modelcollapse.regimes import Draw, Rows, Source, resolve
from modelcollapse.selections.kept import place_weights
from modelcollapse.selections.training_sets import kept_places

Folders = Mapping[str, Path]


def composed_images(draws: Sequence[Draw], folders: Folders, real_rows: int) -> TrainingImages:
    """The training set of a composition: the images that are stored, and weights for those and the streamed ones."""
    parts = resolved(draws, folders, real_rows)
    held = [part for part in parts if not is_streamed(part.source, folders)]
    streamed = [part for part in parts if is_streamed(part.source, folders)]
    images = [_source_images(part.source, folders)[torch.from_numpy(part.indices)] for part in held]
    # Streamed rows come last: their images are drawn batch by batch, and only their weights are known here.
    nothing = torch.empty((0, SIDE, SIDE), dtype=torch.uint8)
    return TrainingImages(torch.cat([nothing, *images]), torch.cat([*map(_weights, [*held, *streamed])]))


def resolved(draws: Sequence[Draw], folders: Folders, real_rows: int) -> list[Rows]:
    """The rows of the sources; where none is streamed, in the order of the training set."""
    sizes = {source: _rows_of_source(source, folders) for draw in draws for source in draw.sets}
    weighed = {source: place_weights(folders[source.role]) for source in sizes}
    return resolve(draws, sizes, real_rows, weighed, kept_places(draws, folders))


def is_streamed(source: Source, folders: Folders) -> bool:
    """Whether the images of a source are drawn from its decoder as they are wanted."""
    return (folders[source.role] / STREAM_FILE).is_file()


def _weights(part: Rows) -> torch.Tensor:
    return torch.from_numpy(part.weights).float()


def _rows_of_source(source: Source, folders: Folders) -> int:
    if is_streamed(source, folders):
        rows: int = json.loads((folders[source.role] / STREAM_FILE).read_text(encoding="utf-8"))["rows"]
        return rows
    return image_count(folders[source.role], "train")


def _source_images(source: Source, folders: Folders) -> torch.Tensor:
    return read_images(folders[source.role], "train")
