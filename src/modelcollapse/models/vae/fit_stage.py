"""The stage that fits each generation's VAE to what the regime composed for it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from modelcollapse.data.batches import EpochSampler, Share
from modelcollapse.data.images import DrawingSampler, ImagesDataModule, NoisyImages, image_count, read_images
from modelcollapse.execution.fit import Fit, fit_resumably
from modelcollapse.execution.resuming import Progress
from modelcollapse.execution.trainer import Execution
from modelcollapse.models.stages import epochs_of, within
from modelcollapse.models.vae.bench import Bench
from modelcollapse.models.vae.composition import composed_images, streamed_decoder
from modelcollapse.models.vae.files import NETWORK_FILE
from modelcollapse.models.vae.module import FittingModule
from modelcollapse.models.vae.network import IMAGE_BYTES, VariationalAutoencoder, load_network, new_network
from modelcollapse.models.vae.publishing import publish_fit
from modelcollapse.regimes import Draw
from modelcollapse.seeding import Stream
from modelcollapse.settings.vae import VaeArchitectureSettings, VaeSettings
from modelcollapse.store import Workshop


def make_generation(
    bench: Bench, workshop: Workshop, *, generation: int, draws: Sequence[Draw], stream: Stream
) -> None:
    """Fit a generation to its composition of the sources."""
    settings, execution = bench.model.training, bench.execution
    fit = Fit(
        assemble=partial(_assemble, dict(workshop.parents), bench.model, draws, stream),
        epochs=epochs_of(settings, generation),
        keep_best=settings.checkpoint == "best_val",
        gradient_clip=settings.gradient_clip,
        stream=within(stream, "noise"),
        label=workshop.piece.label,
        on_nan=execution.settings.on_nan,
        devices=execution.settings.devices,
    )
    module, _, lines = fit_resumably(
        fit,
        execution=execution,
        progress=Progress.of(workshop),
        on_epoch=lambda line: execution.on_epoch(generation, line),
    )
    publish_fit(bench, workshop, module.network, lines, settings.batch_size, fit.devices)


def _assemble(
    folders: Mapping[str, Path],
    model: VaeSettings,
    draws: Sequence[Draw],
    stream: Stream,
    execution: Execution,
    share: Share,
) -> tuple[FittingModule, ImagesDataModule]:
    """The module and its share of the data, in whatever process."""
    real, settings, latents = folders["real"], model.training, model.architecture.latents
    training = composed_images(draws, folders, image_count(real, "train"))
    rows_per_epoch = image_count(real, "train") if settings.epoch_size == "real" else training.rows
    order = EpochSampler(training.rows, rows_per_epoch, settings.batch_size, within(stream, "order"))
    sampler = DrawingSampler(order, training.held, latents, within(stream, "latents"), within(stream, "noise"))
    validation = NoisyImages.draw(read_images(real, "validation"), latents, within(stream, "validation"))
    batch_size = execution.scoring_batch_size(IMAGE_BYTES)
    network = _initial_network(folders, model.architecture, stream)
    module = FittingModule(network, settings, model.beta, streamed_decoder(model.architecture, draws, folders))
    return module, ImagesDataModule(training, validation, sampler, batch_size, share)


def _initial_network(
    folders: Mapping[str, Path], architecture: VaeArchitectureSettings, stream: Stream
) -> VariationalAutoencoder:
    if "initial" in folders:
        return load_network(architecture, folders["initial"] / NETWORK_FILE)
    return new_network(architecture, within(stream, "weights"))
