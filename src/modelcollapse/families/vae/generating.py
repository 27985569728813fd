"""The synthetic images of a generation: drawn and stored, or the decoder that they are streamed from."""

import json

import torch

from modelcollapse.data.images import image_count, write_images
from modelcollapse.families.vae.module import draw
from modelcollapse.families.vae.network import IMAGE_BYTES, load_network, save_network
from modelcollapse.families.vae.recipes import DECODER_FILE, NETWORK_FILE, STREAM_FILE, StageContext
from modelcollapse.regimes import rows_of
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext


def build_synthetic_set(stage: StageContext, context: BuildContext, *, rows: float, stream: Stream) -> None:
    """Publish the decoder's means at ``rows`` times n draws of z ~ N(0, I), or the decoder to stream them from."""
    decoder = load_network(stage.model.architecture, context.parents["model"] / NETWORK_FILE).decoder
    count = rows_of(rows, image_count(context.parents["real"], "train"))
    if stage.model.synthesis == "stream":
        save_network(decoder, context.folder / DECODER_FILE)
        (context.folder / STREAM_FILE).write_text(json.dumps({"rows": count}), encoding="utf-8")
        return
    latents = torch.randn(count, stage.model.architecture.latents, generator=stream.torch())
    write_images(context.folder, "train", draw(decoder, latents, stage.execution, context.artifact.label))
    batch_size = stage.execution.scoring_batch_size(IMAGE_BYTES)
    context.execution.update(stage.execution.facts(batch_size=batch_size))
