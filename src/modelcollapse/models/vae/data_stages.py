"""Stages that prepare images: the real splits, and fresh real images."""

import torch

from modelcollapse.data.images import image_count, read_images, real_splits, write_images, write_splits
from modelcollapse.models.vae.bench import Bench
from modelcollapse.regimes import reserve_rows, rows_of
from modelcollapse.seeding import Stream
from modelcollapse.store import Workshop


def make_real_data(bench: Bench, workshop: Workshop) -> None:
    """Write the real splits with their classes."""
    write_splits(workshop.folder, real_splits(bench.data))


def make_fresh_data(bench: Bench, workshop: Workshop, *, generation: int, share: float, stream: Stream) -> None:
    """Write real images out of the reserve that no other generation of the chain trains on."""
    real = workshop.parents["real"]
    rows = rows_of(share, image_count(real, "train"))
    reserve = read_images(real, "reserve")
    chosen = reserve_rows(len(reserve), generation, rows, stream)
    write_images(workshop.folder, "train", reserve[torch.from_numpy(chosen)])
