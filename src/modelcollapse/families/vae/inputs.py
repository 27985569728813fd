"""The real images of a VAE chain, split, and the fresh ones of each generation."""

import torch

from modelcollapse.data import data_of
from modelcollapse.data.images import image_count, read_images, write_images, write_splits
from modelcollapse.data.sources import verify_unchanged
from modelcollapse.families.vae.recipes import StageContext
from modelcollapse.regimes import reserve_rows, rows_of
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext


def build_real_data(stage: StageContext, context: BuildContext) -> None:
    """Write the real splits with their classes."""
    data = data_of(stage.data)
    write_splits(context.folder, data.splits())
    verify_unchanged(context.artifact.recipe, data.recipe)


def build_fresh_data(
    stage: StageContext, context: BuildContext, *, generation: int, share: float, stream: Stream
) -> None:
    """Write real images out of the reserve that no other generation of the chain trains on."""
    real = context.parents["real"]
    rows = rows_of(share, image_count(real, "train"))
    reserve = read_images(real, "reserve")
    chosen = reserve_rows(len(reserve), generation, rows, stream)
    write_images(context.folder, "train", reserve[torch.from_numpy(chosen)])
