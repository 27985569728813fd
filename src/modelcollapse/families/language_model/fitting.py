"""Stages that produce a network: pretrained weights, the base, and the fit of each generation."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from modelcollapse.data.batches import EpochSampler, Rank
from modelcollapse.data.block_batches import BlocksDataModule
from modelcollapse.data.blocks import block_count, read_blocks
from modelcollapse.data.hub import taken_in
from modelcollapse.data.sources import files_in_view, fingerprint_of, naming_source, verify_unchanged
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.families.language_model.module import FittingModule
from modelcollapse.families.language_model.network import (
    load_network,
    load_published,
    new_network,
    save_network,
    scoring_bytes,
)
from modelcollapse.families.language_model.recipes import TRAINING_FILE, StageContext, weights_recipe
from modelcollapse.families.language_model.settings import ArchitectureSettings, TrainingSettings
from modelcollapse.families.language_model.training_set import Folders, composed_blocks
from modelcollapse.regimes import Draw
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.training_sets import selected
from modelcollapse.store import BuildContext
from modelcollapse.training.fit import Fit, fit_resumably, steps_per_epoch, training_rows, validation_rows
from modelcollapse.training.settings import NO_ARGUMENTS, FitArguments
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import Progress


def build_pretrained(stage: StageContext, context: BuildContext) -> None:
    """Take published weights into the store, as safetensors, with their tokenizer."""
    source = str(stage.model.pretrained)
    with taken_in(source, stage.model.revision, "model.pretrained") as folder, naming_source(folder, source):
        save_network(load_published(folder), context.folder)
        # Of a repository, the recipe holds its commit: what the hub gave for it stands here.
        context.execution["weights"] = fingerprint_of(files_in_view(folder))
    load_tokenizer(context.parents["tokenizer"]).save_pretrained(context.folder)
    verify_unchanged(context.artifact.recipe, lambda: weights_recipe(stage.model))


def build_base(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """Pretrain the base on its text, a part of each pass at a time."""
    base = stage.model.base
    assert base is not None
    task = partial(_base_task, parts_per_epoch=base.parts_per_epoch)
    _fit(stage, context, base.training, base.training.epochs * base.parts_per_epoch, stream, task)


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
    training = stage.model.training
    task = partial(_generation_task, draws=draws, epoch_size=training.epoch_size)

    settings = stage.execution.settings
    _fit(
        stage,
        context,
        training,
        training.epochs_of(generation),
        stream,
        task,
        lambda line: stage.execution.on_epoch(generation, line),
        on_nan=settings.on_nan,
        callbacks=callbacks,
        arguments=settings.fit_arguments,
    )


@dataclass(frozen=True)
class FitTask:
    """The training data of a fit."""

    blocks: torch.Tensor
    """Tokens [rows, length]."""
    weights: torch.Tensor
    """Weight of each row [rows], mean 1."""
    validation: torch.Tensor
    """Blocks that choose among the epochs."""
    rows_per_epoch: int
    """Rows that an epoch passes over."""


def _base_task(folders: Folders, parts_per_epoch: int) -> FitTask:
    blocks, validation = (read_blocks(folders["data"], split) for split in ("train", "validation"))
    return FitTask(blocks, torch.ones(len(blocks)), validation, -(-len(blocks) // parts_per_epoch))


def _generation_task(folders: Folders, draws: Sequence[Draw], epoch_size: Literal["training_set", "real"]) -> FitTask:
    real_rows = block_count(folders["real"], "train")
    blocks, weights = selected(*composed_blocks(draws, folders, real_rows), folders)
    rows_per_epoch = real_rows if epoch_size == "real" else len(blocks)
    return FitTask(blocks, weights, read_blocks(folders["real"], "validation"), rows_per_epoch)


def _fit(
    stage: StageContext,
    context: BuildContext,
    training: TrainingSettings,
    epochs: int,
    stream: Stream,
    task: Callable[[Folders], FitTask],
    on_epoch: Callable[[Mapping[str, float]], None] = lambda line: None,
    **more: Any,
) -> None:
    """Fit a network and write it; ``more`` are fields of the Fit that only generations have."""
    execution, folders = stage.execution, dict(context.parents)
    arguments = more.get("arguments", NO_ARGUMENTS)
    fit = Fit(
        assemble=partial(_assemble, folders, stage.model.architecture, training, epochs, stream, task, arguments),
        epochs=epochs,
        keep_best=training.checkpoint == "best_val",
        gradient_clip=training.gradient_clip,
        stream=stream.within("dropout"),
        label=context.artifact.label,
        devices=execution.settings.devices,
        micro_batch_size=execution.settings.micro_batch_size,
        **more,
    )
    module, data, lines = fit_resumably(fit, execution=execution, progress=Progress.of(context), on_epoch=on_epoch)
    save_network(module.network, context.folder)
    load_tokenizer(folders["tokenizer"]).save_pretrained(context.folder)
    (context.folder / TRAINING_FILE).write_text(
        "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines), encoding="utf-8"
    )
    tokens = data.tokens_per_epoch * epochs
    context.execution.update(execution.facts(fit.devices, batch_size=training.batch_size, tokens=tokens))


def _assemble(
    folders: Folders,
    architecture: ArchitectureSettings | None,
    training: TrainingSettings,
    epochs: int,
    stream: Stream,
    build_task: Callable[[Folders], FitTask],
    arguments: FitArguments,
    execution: Execution,
    rank: Rank,
) -> tuple[FittingModule, BlocksDataModule]:
    """The module and a rank's part of the data."""
    task = build_task(folders)
    rows, size = training_rows(arguments, task.rows_per_epoch, training.batch_size), training.batch_size
    sampler = EpochSampler(len(task.blocks), rows, size, stream.within("order"), bool(arguments.overfit_batches))
    validation = task.validation[: validation_rows(arguments, len(task.validation), size)]
    network = _initial_network(folders, architecture, stream)
    scoring_batch_size = execution.scoring_batch_size(scoring_bytes(network, task.blocks.shape[1]))
    data = BlocksDataModule(task.blocks, task.weights, validation, sampler, scoring_batch_size, rank)
    return FittingModule(network, training, epochs, steps_per_epoch(arguments, len(sampler))), data


def _initial_network(folders: Folders, architecture: ArchitectureSettings | None, stream: Stream) -> PreTrainedModel:
    if "initial" in folders:
        return load_network(folders["initial"])
    assert architecture is not None
    return new_network(architecture, load_tokenizer(folders["tokenizer"]), stream.within("weights"))
