"""Stages that end with a network: pretrained weights taken in, the base, and each generation's fit."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from modelcollapse.data.batches import EpochSampler
from modelcollapse.data.blocks import BlocksDataModule, block_count, read_blocks
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.execution.fit import Progress, fit_resumably
from modelcollapse.models.language_model.bench import Bench
from modelcollapse.models.language_model.files import TRAINING_FILE
from modelcollapse.models.language_model.module import FittingModule
from modelcollapse.models.language_model.network import load_network, new_network, save_network, scoring_bytes
from modelcollapse.models.stages import epochs_of, source_role, within
from modelcollapse.regimes import Draw, Source, resolve
from modelcollapse.seeding import Stream
from modelcollapse.settings.language_model import TrainingSettings
from modelcollapse.store import Workshop


def make_pretrained(bench: Bench, workshop: Workshop) -> None:
    """Take published weights into the store, as safetensors, with their tokenizer."""
    save_network(load_network(str(bench.model.pretrained), bench.model.revision), workshop.folder)
    load_tokenizer(workshop.parents["tokenizer"]).save_pretrained(workshop.folder)


def make_base(bench: Bench, workshop: Workshop, *, stream: Stream) -> None:
    """Pretrain the base on its text, a part of each pass at a time."""
    base = bench.model.base
    assert base is not None
    blocks = read_blocks(workshop.parents["data"], "train")
    validation = read_blocks(workshop.parents["data"], "validation")
    rows_per_part = -(-len(blocks) // base.parts_per_epoch)
    task = FitTask(blocks, torch.ones(len(blocks)), validation, rows_per_part)
    _fit(bench, workshop, base.training, base.training.epochs * base.parts_per_epoch, stream, task, _ignore)


def make_generation(
    bench: Bench, workshop: Workshop, *, generation: int, draws: Sequence[Draw], stream: Stream
) -> None:
    """Fit a generation to its composition of the sources."""
    real, training = workshop.parents["real"], bench.model.training
    real_rows = block_count(real, "train")
    blocks, weights = composed_blocks(draws, workshop.parents, real_rows)
    rows_per_epoch = real_rows if training.epoch_size == "real" else len(blocks)
    task = FitTask(blocks, weights, read_blocks(real, "validation"), rows_per_epoch)

    def tell(line: Mapping[str, float]) -> None:
        bench.execution.on_epoch(generation, line)

    on_nan = bench.execution.settings.on_nan
    _fit(bench, workshop, training, epochs_of(training, generation), stream, task, tell, on_nan)


@dataclass(frozen=True)
class FitTask:
    """What a network is fitted to."""

    blocks: torch.Tensor
    """Tokens [rows, length]."""
    weights: torch.Tensor
    """Weight of each row [rows], mean 1."""
    validation: torch.Tensor
    """Blocks that choose among the epochs."""
    rows_per_epoch: int
    """Rows that an epoch passes over."""


def composed_blocks(
    draws: Sequence[Draw], folders: Mapping[str, Path], real_rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The training set of a composition: blocks [rows, length] and weights [rows] with mean 1."""
    sets = {source: _source_blocks(source, folders) for draw in draws for source in draw.sources}
    parts = resolve(draws, {source: len(blocks) for source, blocks in sets.items()}, real_rows)
    blocks = torch.cat([sets[part.source][torch.from_numpy(part.indices)] for part in parts])
    weights = torch.cat([torch.full((len(part.indices),), part.weight) for part in parts])
    return blocks, weights


def _source_blocks(source: Source, folders: Mapping[str, Path]) -> torch.Tensor:
    return read_blocks(folders[source_role(source)], "blocks" if source.kind == "synthetic" else "train")


def _fit(
    bench: Bench,
    workshop: Workshop,
    training: TrainingSettings,
    epochs: int,
    stream: Stream,
    task: FitTask,
    tell: Callable[[Mapping[str, float]], None],
    on_nan: Literal["stop", "continue"] = "stop",
) -> None:
    sampler = EpochSampler(len(task.blocks), task.rows_per_epoch, training.batch_size, within(stream, "order"))
    network = _initial_network(bench, workshop, stream)
    scoring_batch_size = bench.execution.scoring_batch_size(scoring_bytes(network, task.blocks.shape[1]))
    data = BlocksDataModule(task.blocks, task.weights, task.validation, sampler, scoring_batch_size)
    module = FittingModule(network, training, epochs, len(sampler))
    lines = fit_resumably(
        module,
        data,
        epochs=epochs,
        keep_best=training.checkpoint == "best_val",
        gradient_clip=training.gradient_clip,
        stream=within(stream, "dropout"),
        execution=bench.execution,
        label=workshop.piece.label,
        progress=Progress.of(workshop),
        on_epoch=tell,
        on_nan=on_nan,
    )
    save_network(module.network, workshop.folder)
    load_tokenizer(workshop.parents["tokenizer"]).save_pretrained(workshop.folder)
    (workshop.folder / TRAINING_FILE).write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    tokens = task.rows_per_epoch * epochs * task.blocks.shape[1]
    workshop.execution.update(bench.execution.facts(batch_size=training.batch_size, tokens=tokens))


def _initial_network(bench: Bench, workshop: Workshop, stream: Stream) -> PreTrainedModel:
    if "initial" in workshop.parents:
        return load_network(workshop.parents["initial"])
    assert bench.model.architecture is not None
    tokenizer = load_tokenizer(workshop.parents["tokenizer"])
    return new_network(bench.model.architecture, tokenizer, within(stream, "weights"))


def _ignore(line: Mapping[str, float]) -> None:
    """The base's epochs belong to no generation."""
