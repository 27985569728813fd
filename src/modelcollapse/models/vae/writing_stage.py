"""The stage in which a VAE writes: a set of images, or the decoder that draws them as they are wanted."""

import json

import torch

from modelcollapse.data.images import image_count, write_images
from modelcollapse.models.vae.applying import draw
from modelcollapse.models.vae.bench import Bench
from modelcollapse.models.vae.files import DECODER_FILE, NETWORK_FILE, STREAM_FILE
from modelcollapse.models.vae.network import IMAGE_BYTES, load_network, save_network
from modelcollapse.regimes import rows_of
from modelcollapse.seeding import Stream
from modelcollapse.store import Workshop


def make_synthetic_set(bench: Bench, workshop: Workshop, *, rows: float, stream: Stream) -> None:
    """Publish the decoder's means at ``rows`` times n draws of z ~ N(0, I), or the decoder to stream them from."""
    decoder = load_network(bench.model.architecture, workshop.parents["model"] / NETWORK_FILE).decoder
    count = rows_of(rows, image_count(workshop.parents["real"], "train"))
    if bench.model.synthesis == "stream":
        save_network(decoder, workshop.folder / DECODER_FILE)
        (workshop.folder / STREAM_FILE).write_text(json.dumps({"rows": count}))
        return
    latents = torch.randn(count, bench.model.architecture.latents, generator=stream.torch())
    write_images(workshop.folder, "train", draw(decoder, latents, bench.execution, workshop.piece.label))
    batch_size = bench.execution.scoring_batch_size(IMAGE_BYTES)
    workshop.execution.update(bench.execution.facts(batch_size=batch_size))
