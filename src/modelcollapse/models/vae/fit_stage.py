"""The stage that fits each generation's VAE to what the regime composed for it."""

from collections.abc import Sequence

from modelcollapse.data.batches import EpochSampler
from modelcollapse.data.images import DrawingSampler, ImagesDataModule, NoisyImages, image_count, read_images
from modelcollapse.execution.fit import Progress, fit_resumably
from modelcollapse.models.stages import epochs_of, within
from modelcollapse.models.vae.bench import Bench
from modelcollapse.models.vae.composition import composed_images, streamed_decoder
from modelcollapse.models.vae.files import NETWORK_FILE
from modelcollapse.models.vae.module import FittingModule
from modelcollapse.models.vae.network import IMAGE_BYTES, VariationalAutoencoder, load_network, new_network
from modelcollapse.models.vae.publishing import publish_fit
from modelcollapse.regimes import Draw
from modelcollapse.seeding import Stream
from modelcollapse.store import Workshop


def make_generation(
    bench: Bench, workshop: Workshop, *, generation: int, draws: Sequence[Draw], stream: Stream
) -> None:
    """Fit a generation to its composition of the sources."""
    real, settings = workshop.parents["real"], bench.model.training
    training = composed_images(draws, workshop.parents, image_count(real, "train"))
    rows_per_epoch = image_count(real, "train") if settings.epoch_size == "real" else training.rows
    order = EpochSampler(training.rows, rows_per_epoch, settings.batch_size, within(stream, "order"))
    sampler = DrawingSampler(order, training.held, bench.model.architecture.latents, within(stream, "latents"))
    batch_size = bench.execution.scoring_batch_size(IMAGE_BYTES)
    latents = bench.model.architecture.latents
    validation = NoisyImages.draw(read_images(real, "validation"), latents, within(stream, "validation"))
    data = ImagesDataModule(training, validation, sampler, batch_size)
    parent = streamed_decoder(bench, draws, workshop.parents)
    module = FittingModule(_initial_network(bench, workshop, stream), settings, bench.model.beta, parent)
    lines = fit_resumably(
        module,
        data,
        epochs=epochs_of(settings, generation),
        keep_best=settings.checkpoint == "best_val",
        gradient_clip=settings.gradient_clip,
        stream=within(stream, "noise"),
        execution=bench.execution,
        label=workshop.piece.label,
        progress=Progress.of(workshop),
        on_epoch=lambda line: bench.execution.on_epoch(generation, line),
        on_nan=bench.execution.settings.on_nan,
    )
    publish_fit(bench, workshop, module.network, lines, settings.batch_size)


def _initial_network(bench: Bench, workshop: Workshop, stream: Stream) -> VariationalAutoencoder:
    if "initial" in workshop.parents:
        return load_network(bench.model.architecture, workshop.parents["initial"] / NETWORK_FILE)
    return new_network(bench.model.architecture, within(stream, "weights"))
