"""Stages that end with a network: pretrained weights taken in, the base, and each generation's fit."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from transformers import OPTForCausalLM

from modelcollapse.data.blocks import BlocksDataModule, EpochSampler, block_count, read_blocks
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.execution.fit import fit_resumably
from modelcollapse.models.language_model.bench import Bench
from modelcollapse.models.language_model.files import TRAINING_FILE
from modelcollapse.models.language_model.module import FittingModule
from modelcollapse.models.language_model.network import load_network, new_network, save_network
from modelcollapse.models.language_model.recipes import epochs_of
from modelcollapse.regimes import Draw, Source, resolve
from modelcollapse.seeding import Stream
from modelcollapse.settings.language_model import TrainingSettings
from modelcollapse.store import Workshop


def make_pretrained(bench: Bench, workshop: Workshop) -> None:
    """Take published weights into the store, as safetensors."""
    save_network(load_network(str(bench.model.pretrained), bench.model.revision), workshop.folder)


def make_base(bench: Bench, workshop: Workshop, *, stream: Stream) -> None:
    """Pretrain the base on its text."""
    base = bench.model.base
    assert base is not None
    blocks = read_blocks(workshop.parents["data"], "train")
    validation = read_blocks(workshop.parents["data"], "validation")
    _fit(
        bench,
        workshop,
        base.training,
        0,
        stream,
        blocks,
        torch.ones(len(blocks)),
        validation,
        len(blocks),
        _ignore,
    )


def make_generation(
    bench: Bench, workshop: Workshop, *, generation: int, draws: Sequence[Draw], stream: Stream
) -> None:
    """Fit a generation to its composition of the sources."""
    real = workshop.parents["real"]
    blocks, weights = composed_blocks(draws, workshop.parents, block_count(real, "train"))
    validation = read_blocks(real, "validation")

    def tell(line: Mapping[str, float]) -> None:
        bench.execution.on_epoch(generation, line)

    real_rows = block_count(real, "train")
    _fit(
        bench,
        workshop,
        bench.model.training,
        generation,
        stream,
        blocks,
        weights,
        validation,
        real_rows,
        tell,
    )


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
    from modelcollapse.models.language_model.family import source_role

    return read_blocks(folders[source_role(source)], "blocks" if source.kind == "synthetic" else "train")


def _fit(
    bench: Bench,
    workshop: Workshop,
    training: TrainingSettings,
    generation: int,
    stream: Stream,
    blocks: torch.Tensor,
    weights: torch.Tensor,
    validation: torch.Tensor,
    real_rows: int,
    tell: Callable[[Mapping[str, float]], None],
) -> None:
    epochs = epochs_of(training, generation)
    rows_per_epoch = real_rows if training.epoch_size == "real" else len(blocks)
    order = Stream(stream.seed, stream.generation, f"{stream.stage}.order")
    sampler = EpochSampler(len(blocks), rows_per_epoch, training.batch_size, order)
    data = BlocksDataModule(blocks, weights, validation, sampler, bench.execution.settings.scoring_batch_size)
    module = FittingModule(_initial_network(bench, workshop, stream), training, epochs, len(sampler))
    lines = fit_resumably(
        module,
        data,
        epochs=epochs,
        keep_best=training.checkpoint == "best_val",
        gradient_clip=training.gradient_clip,
        stream=Stream(stream.seed, stream.generation, f"{stream.stage}.dropout"),
        execution=bench.execution,
        label=workshop.piece.label,
        progress=workshop.progress,
        on_epoch=tell,
    )
    save_network(module.network, workshop.folder)
    load_tokenizer(workshop.parents["tokenizer"]).save_pretrained(workshop.folder)
    (workshop.folder / TRAINING_FILE).write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    tokens = rows_per_epoch * epochs * blocks.shape[1]
    workshop.execution.update(bench.execution.facts(batch_size=training.batch_size, tokens=tokens))


def _initial_network(bench: Bench, workshop: Workshop, stream: Stream) -> OPTForCausalLM:
    if "initial" in workshop.parents:
        return load_network(workshop.parents["initial"])
    assert bench.model.architecture is not None
    tokenizer = load_tokenizer(workshop.parents["tokenizer"])
    weights = Stream(stream.seed, stream.generation, f"{stream.stage}.weights")
    return new_network(bench.model.architecture, tokenizer, weights)


def _ignore(line: Mapping[str, float]) -> None:
    """The base's epochs belong to no generation."""
