"""The stage that fits each generation's VAE to what the regime composed for it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from modelcollapse.data.batches import EpochSampler, Rank
from modelcollapse.data.image_batches import DrawingSampler, ImagesDataModule, NoisyImages, TrainingImages
from modelcollapse.data.images import image_count, read_images
from modelcollapse.families.vae.module import FittingModule
from modelcollapse.families.vae.network import (
    IMAGE_BYTES,
    Decoder,
    VariationalAutoencoder,
    load_decoder,
    load_network,
    new_network,
)
from modelcollapse.families.vae.published import publish_fit
from modelcollapse.families.vae.recipes import DECODER_FILE, NETWORK_FILE, StageContext
from modelcollapse.families.vae.settings import VaeArchitectureSettings, VaeSettings
from modelcollapse.families.vae.training_set import composed_images, is_streamed
from modelcollapse.regimes import Draw
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.training_sets import selected
from modelcollapse.store import BuildContext
from modelcollapse.training.fit import Fit, fit_resumably, training_rows, validation_rows
from modelcollapse.training.settings import FitArguments
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import Progress


def build_generation(
    stage: StageContext,
    context: BuildContext,
    *,
    generation: int,
    draws: Sequence[Draw],
    stream: Stream,
    callbacks: Sequence[Choice],
) -> None:
    """Fit a generation to its composition of the sources."""
    settings, execution = stage.model.training, stage.execution
    arguments = execution.settings.fit_arguments
    fit = Fit(
        assemble=partial(_assemble, dict(context.parents), stage.model, draws, stream, arguments),
        epochs=settings.epochs_of(generation),
        keep_best=settings.checkpoint == "best_val",
        gradient_clip=settings.gradient_clip,
        stream=stream.within("noise"),
        label=context.artifact.label,
        on_nan=execution.settings.on_nan,
        devices=execution.settings.devices,
        callbacks=callbacks,
        arguments=arguments,
        micro_batch_size=execution.settings.micro_batch_size,
    )
    module, _, lines = fit_resumably(
        fit,
        execution=execution,
        progress=Progress.of(context),
        on_epoch=lambda line: execution.on_epoch(generation, line),
    )
    publish_fit(stage, context, module.network, lines, settings.batch_size, fit.devices)


def _assemble(
    folders: Mapping[str, Path],
    model: VaeSettings,
    draws: Sequence[Draw],
    stream: Stream,
    arguments: FitArguments,
    execution: Execution,
    rank: Rank,
) -> tuple[FittingModule, ImagesDataModule]:
    """The module and a rank's part of the data."""
    real, settings, latents = folders["real"], model.training, model.architecture.latents
    training = _training_images(draws, folders, image_count(real, "train"))
    rows_per_epoch = image_count(real, "train") if settings.epoch_size == "real" else training.rows
    rows, repeats = training_rows(arguments, rows_per_epoch, settings.batch_size), bool(arguments.overfit_batches)
    order = EpochSampler(training.rows, rows, settings.batch_size, stream.within("order"), repeats)
    sampler = DrawingSampler(order, training.held, latents, stream.within("latents"), stream.within("noise"))
    images = read_images(real, "validation")
    images = images[: validation_rows(arguments, len(images), settings.batch_size)]
    validation = NoisyImages.draw(images, latents, stream.within("validation"))
    batch_size = execution.scoring_batch_size(IMAGE_BYTES)
    network = _initial_network(folders, model.architecture, stream)
    module = FittingModule(network, settings, model.beta, streamed_decoder(model.architecture, draws, folders))
    return module, ImagesDataModule(training, validation, sampler, batch_size, rank)


def _initial_network(
    folders: Mapping[str, Path], architecture: VaeArchitectureSettings, stream: Stream
) -> VariationalAutoencoder:
    if "initial" in folders:
        return load_network(architecture, folders["initial"] / NETWORK_FILE)
    return new_network(architecture, stream.within("weights"))


def _training_images(draws: Sequence[Draw], folders: Mapping[str, Path], real_rows: int) -> TrainingImages:
    """The rows that are trained on: all that are composed, or those of them that a selection keeps."""
    composed = composed_images(draws, folders, real_rows)
    # Nothing is streamed where rows are selected: they are stored images then.
    return composed if composed.rows > composed.held else TrainingImages(*selected(*composed, folders))


def streamed_decoder(
    architecture: VaeArchitectureSettings, draws: Sequence[Draw], folders: Mapping[str, Path]
) -> Decoder | None:
    """The decoder of the composition's streamed source, if it has one."""
    sources = [source for draw in draws for source in draw.sets if is_streamed(source, folders)]
    assert len(sources) <= 1, "the settings let one generation be streamed from at a time"
    if not sources:
        return None
    return load_decoder(architecture, folders[sources[0].role] / DECODER_FILE)
