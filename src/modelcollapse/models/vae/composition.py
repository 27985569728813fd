"""What a generation trains on: stored images of its sources, and the decoder that a source is streamed from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from modelcollapse.data.images import SIDE, TrainingImages, image_count, read_images
from modelcollapse.models.stages import source_role
from modelcollapse.models.vae.files import DECODER_FILE, STREAM_FILE
from modelcollapse.models.vae.network import Decoder, load_decoder
from modelcollapse.regimes import Draw, Rows, Source, resolve
from modelcollapse.settings.vae import VaeArchitectureSettings


def composed_images(draws: Sequence[Draw], folders: Mapping[str, Path], real_rows: int) -> TrainingImages:
    """The training set of a composition: the images that are stored, and weights for those and the streamed ones."""
    sizes = {source: _rows_of_source(source, folders) for draw in draws for source in draw.sources}
    parts = resolve(draws, sizes, real_rows)
    held = [part for part in parts if not _is_streamed(part.source, folders)]
    streamed = [part for part in parts if _is_streamed(part.source, folders)]
    images = [_source_images(part.source, folders)[torch.from_numpy(part.indices)] for part in held]
    nothing = torch.empty((0, SIDE, SIDE), dtype=torch.uint8)
    return TrainingImages(torch.cat([nothing, *images]), torch.cat([*map(_weights, [*held, *streamed])]))


def _weights(part: Rows) -> torch.Tensor:
    return torch.full((len(part.indices),), part.weight)


def streamed_decoder(
    architecture: VaeArchitectureSettings, draws: Sequence[Draw], folders: Mapping[str, Path]
) -> Decoder | None:
    """The decoder of the composition's streamed source, if it has one."""
    sources = [source for draw in draws for source in draw.sources if _is_streamed(source, folders)]
    assert len(sources) <= 1, "the settings let one generation be streamed from at a time"
    if not sources:
        return None
    return load_decoder(architecture, _folder(sources[0], folders) / DECODER_FILE)


def _folder(source: Source, folders: Mapping[str, Path]) -> Path:
    return folders[source_role(source)]


def _is_streamed(source: Source, folders: Mapping[str, Path]) -> bool:
    return (_folder(source, folders) / STREAM_FILE).is_file()


def _rows_of_source(source: Source, folders: Mapping[str, Path]) -> int:
    if _is_streamed(source, folders):
        rows: int = json.loads((_folder(source, folders) / STREAM_FILE).read_text())["rows"]
        return rows
    return image_count(_folder(source, folders), "train")


def _source_images(source: Source, folders: Mapping[str, Path]) -> torch.Tensor:
    return read_images(_folder(source, folders), "train")
