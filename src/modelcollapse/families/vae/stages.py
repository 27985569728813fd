"""The stage that fits each generation's VAE to what the regime composed for it."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from modelcollapse.data.batches import EpochSampler, Share
from modelcollapse.data.image_batches import DrawingSampler, ImagesDataModule, NoisyImages, TrainingImages
from modelcollapse.data.images import SIDE, image_count, read_images, real_splits, write_images, write_splits
from modelcollapse.families.base import epochs_of, source_role, within
from modelcollapse.families.vae.module import FittingModule, draw
from modelcollapse.families.vae.network import (
    IMAGE_BYTES,
    Decoder,
    VariationalAutoencoder,
    load_decoder,
    load_network,
    new_network,
    save_network,
)
from modelcollapse.families.vae.recipes import (
    DECODER_FILE,
    MEASURED_FILE,
    METRICS_FILE,
    NETWORK_FILE,
    STREAM_FILE,
    TRAINING_FILE,
    StageContext,
)
from modelcollapse.families.vae.settings import VaeArchitectureSettings, VaeSettings
from modelcollapse.regimes import Draw, Rows, Source, reserve_rows, resolve, rows_of
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext
from modelcollapse.training.fit import Fit, fit_resumably
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import Progress


def make_generation(
    stage: StageContext, context: BuildContext, *, generation: int, draws: Sequence[Draw], stream: Stream
) -> None:
    """Fit a generation to its composition of the sources."""
    settings, execution = stage.model.training, stage.execution
    fit = Fit(
        assemble=partial(_assemble, dict(context.parents), stage.model, draws, stream),
        epochs=epochs_of(settings, generation),
        keep_best=settings.checkpoint == "best_val",
        gradient_clip=settings.gradient_clip,
        stream=within(stream, "noise"),
        label=context.artifact.label,
        on_nan=execution.settings.on_nan,
        devices=execution.settings.devices,
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


def make_real_data(stage: StageContext, context: BuildContext) -> None:
    """Write the real splits with their classes."""
    write_splits(context.folder, real_splits(stage.data))


def make_fresh_data(
    stage: StageContext, context: BuildContext, *, generation: int, share: float, stream: Stream
) -> None:
    """Write real images out of the reserve that no other generation of the chain trains on."""
    real = context.parents["real"]
    rows = rows_of(share, image_count(real, "train"))
    reserve = read_images(real, "reserve")
    chosen = reserve_rows(len(reserve), generation, rows, stream)
    write_images(context.folder, "train", reserve[torch.from_numpy(chosen)])


def make_synthetic_set(stage: StageContext, context: BuildContext, *, rows: float, stream: Stream) -> None:
    """Publish the decoder's means at ``rows`` times n draws of z ~ N(0, I), or the decoder to stream them from."""
    decoder = load_network(stage.model.architecture, context.parents["model"] / NETWORK_FILE).decoder
    count = rows_of(rows, image_count(context.parents["real"], "train"))
    if stage.model.synthesis == "stream":
        save_network(decoder, context.folder / DECODER_FILE)
        (context.folder / STREAM_FILE).write_text(json.dumps({"rows": count}))
        return
    latents = torch.randn(count, stage.model.architecture.latents, generator=stream.torch())
    write_images(context.folder, "train", draw(decoder, latents, stage.execution, context.artifact.label))
    batch_size = stage.execution.scoring_batch_size(IMAGE_BYTES)
    context.execution.update(stage.execution.facts(batch_size=batch_size))


def publish_fit(
    stage: StageContext,
    context: BuildContext,
    network: torch.nn.Module,
    lines: Sequence[Mapping[str, float]],
    batch_size: int,
    devices: int,
) -> None:
    """Write the weights, the lines of the epochs, and how the fit was executed."""
    save_network(network, context.folder / NETWORK_FILE)
    written = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    (context.folder / TRAINING_FILE).write_text(written)
    context.execution.update(stage.execution.facts(devices, batch_size=batch_size))


def read_lines(folder: Path) -> list[dict[str, float]]:
    """The lines of a fit's epochs."""
    return [json.loads(line) for line in (folder / TRAINING_FILE).read_text().splitlines()]


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write flat metrics."""
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1, sort_keys=True))


def read_metrics(folder: Path) -> dict[str, float]:
    """The metrics of a finished artifact."""
    metrics: dict[str, float] = json.loads((folder / METRICS_FILE).read_text())
    return metrics


def write_measured(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write the tensors behind the metrics: latent means, and images for the figures."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / MEASURED_FILE)


def read_measured(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors behind the metrics of a finished artifact."""
    tensors: dict[str, torch.Tensor] = load_file(folder / MEASURED_FILE)
    return tensors
