"""The stage that fits each generation's VAE to what the regime composed for it."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from modelcollapse.data.batches import EpochSampler, Rank
from modelcollapse.data.image_batches import DrawingSampler, ImagesDataModule, NoisyImages, TrainingImages
from modelcollapse.data.images import SIDE, image_count, read_images
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
from modelcollapse.families.vae.recipes import DECODER_FILE, NETWORK_FILE, STREAM_FILE, StageContext
from modelcollapse.families.vae.settings import VaeArchitectureSettings, VaeSettings
from modelcollapse.regimes import Draw, Rows, Source, resolve
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.kept import place_weights
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
    training = composed_images(draws, folders, image_count(real, "train"))
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


def composed_images(draws: Sequence[Draw], folders: Mapping[str, Path], real_rows: int) -> TrainingImages:
    """The training set of a composition: the images that are stored, and weights for those and the streamed ones."""
    sizes = {source: _rows_of_source(source, folders) for draw in draws for source in draw.sets}
    weighed = {source: place_weights(_folder(source, folders)) for source in sizes}
    parts = resolve(draws, sizes, real_rows, weighed)
    held = [part for part in parts if not _is_streamed(part.source, folders)]
    streamed = [part for part in parts if _is_streamed(part.source, folders)]
    images = [_source_images(part.source, folders)[torch.from_numpy(part.indices)] for part in held]
    # Streamed rows come last: their images are drawn batch by batch, and only their weights are known here.
    nothing = torch.empty((0, SIDE, SIDE), dtype=torch.uint8)
    return TrainingImages(torch.cat([nothing, *images]), torch.cat([*map(_weights, [*held, *streamed])]))


def _weights(part: Rows) -> torch.Tensor:
    return torch.from_numpy(part.weights).float()


def streamed_decoder(
    architecture: VaeArchitectureSettings, draws: Sequence[Draw], folders: Mapping[str, Path]
) -> Decoder | None:
    """The decoder of the composition's streamed source, if it has one."""
    sources = [source for draw in draws for source in draw.sets if _is_streamed(source, folders)]
    assert len(sources) <= 1, "the settings let one generation be streamed from at a time"
    if not sources:
        return None
    return load_decoder(architecture, _folder(sources[0], folders) / DECODER_FILE)


def _folder(source: Source, folders: Mapping[str, Path]) -> Path:
    return folders[source.role]


def _is_streamed(source: Source, folders: Mapping[str, Path]) -> bool:
    return (_folder(source, folders) / STREAM_FILE).is_file()


def _rows_of_source(source: Source, folders: Mapping[str, Path]) -> int:
    if _is_streamed(source, folders):
        rows: int = json.loads((_folder(source, folders) / STREAM_FILE).read_text(encoding="utf-8"))["rows"]
        return rows
    return image_count(_folder(source, folders), "train")


def _source_images(source: Source, folders: Mapping[str, Path]) -> torch.Tensor:
    return read_images(_folder(source, folders), "train")
