"""Generating stages: the synthetic set, shard by shard, and continuations of fixed prompts."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, Dataset

from modelcollapse.data.blocks import read_blocks, write_blocks
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.decoding.engine import Engine, decoding_engine, is_native
from modelcollapse.decoding.native import NativeEngine
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.decoding.workers import EngineBuilder, continue_by_workers
from modelcollapse.families.language_model.network import load_network, network_without_weights
from modelcollapse.families.language_model.recipes import CONTINUATIONS_FILE, StageContext
from modelcollapse.regimes import rows_of
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext
from modelcollapse.training.processes import threads_of_each
from modelcollapse.training.progress import BatchProgress, StageBar, stage_bar
from modelcollapse.training.verified_files import ChecksumMismatch, load_verified, save_with_checksum


def build_synthetic_set(stage: StageContext, context: BuildContext, *, rows: float, stream: Stream) -> None:
    """Continue every prompt and publish the new tokens as blocks; finished shards survive a kill."""
    prompts = prompt_blocks(context, rows, stage.decoding.prompt_tokens)
    shards = Shards(context, len(prompts), stage.decoding.batch_size)
    groups = PromptGroups(prompts, stage.decoding.batch_size, shards.finished())
    model = context.parents["model"]
    workers = worker_count(stage, model, len(groups), prompts.shape[1])
    with stage_bar(context.artifact.label, groups.total, stage.execution) as bar:
        # Shards that a killed attempt finished are not generated again.
        bar.advance(groups.total - len(groups))
        if workers > 1:
            _generate_by_workers(partial(engine_over, model, stage.decoding, stream), workers, groups, shards, bar)
        elif len(groups):
            _generate_here(stage, engine_over(model, stage.decoding, stream), groups, shards, bar)
    blocks = torch.cat([shards.read(group) for group in range(groups.total)])
    write_blocks(context.folder, blocks=blocks.numpy())
    at_once = {"batch_size": stage.decoding.batch_size, "memory_gb": stage.decoding.memory_gb}
    facts = stage.execution.facts(**at_once, tokens=blocks.numel())
    context.execution.update({**facts, "workers": workers, "threads": threads_of_each(workers)})


def worker_count(stage: StageContext, model: Path, groups: int, length: int) -> int:
    """Number of generating processes: as in the settings, or fewer where prompts or memory do not suffice."""
    wanted = min(stage.decoding.workers, groups)
    if wanted <= 1 or stage.execution.facts()["device"] != "cpu":
        return 1
    fitting = engines_at_once(model, stage.decoding, length) or wanted
    if fitting < wanted:
        print(f"  decoding.memory_gb={stage.decoding.memory_gb:g} holds the batches of {fitting} workers", flush=True)
    return min(wanted, fitting)


def _generate_here(
    stage: StageContext, engine: Engine, groups: "PromptGroups", shards: "Shards", bar: StageBar
) -> None:
    trainer = stage.execution.trainer([ShardWriter(shards), BatchProgress(bar)])
    loader = DataLoader(groups, batch_size=None, generator=torch.Generator())
    trainer.predict(GeneratingModule(engine), loader, return_predictions=False)


def _generate_by_workers(
    build_engine: EngineBuilder, workers: int, groups: "PromptGroups", shards: "Shards", bar: StageBar
) -> None:
    def write(group: int, tokens: torch.Tensor) -> None:
        shards.write(group, tokens)
        bar.advance()

    waiting = {each["group"]: each["tokens"] for each in map(groups.__getitem__, range(len(groups)))}
    continue_by_workers(waiting, build_engine, workers, threads_of_each(workers), write)


def prompt_blocks(context: BuildContext, rows: float, prompt_tokens: int | None) -> torch.Tensor:
    """Prompts [rows x n, length] int64: the n prompt blocks in order, over again as often as rows ask for."""
    real_rows = len(read_blocks(context.parents["real"], "train"))
    real = context.artifact.parents["prompts"].kind == "data"
    blocks = read_blocks(context.parents["prompts"], "train" if real else "blocks")[:real_rows].long()
    wanted = rows_of(rows, real_rows)
    repeats = -(-wanted // len(blocks))
    prompts = blocks.repeat(repeats, 1)[:wanted]
    return prompts if prompt_tokens is None else prompts[:, -prompt_tokens:]


class PromptGroups(Dataset[dict[str, Any]]):
    """Batches of prompts that are still to be continued; a group's composition never depends on what is finished."""

    def __init__(self, prompts: torch.Tensor, batch_size: int, finished: set[int]) -> None:
        self._prompts, self._batch_size = prompts, batch_size
        self.total = -(-len(prompts) // batch_size)
        self._groups = [group for group in range(self.total) if group not in finished]

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Tokens [prompts, length] of a group and its number."""
        group = self._groups[position]
        return {
            "tokens": self._prompts[group * self._batch_size : (group + 1) * self._batch_size],
            "group": group,
        }


class ShardWriter(BasePredictionWriter):
    """Writes each group's new tokens to a file of its own as soon as they are there."""

    def __init__(self, shards: "Shards") -> None:
        super().__init__(write_interval="batch")
        self._shards = shards

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write one shard."""
        self._shards.write(int(batch["group"]), prediction)


class Shards:
    """The new tokens of finished groups, a file a group, named by the rows of the synthetic set that it holds.

    So a set that was begun with another ``decoding.batch_size`` is not taken for this one.
    """

    def __init__(self, context: BuildContext, rows: int, batch_size: int) -> None:
        self._context, self._rows, self._batch_size = context, rows, batch_size

    def finished(self) -> set[int]:
        """Groups whose shards are there, as they were written; damaged ones are discarded."""
        groups = range(-(-self._rows // self._batch_size))
        return {group for group in groups if self._path(group).exists() and self._is_sound(group)}

    def write(self, group: int, tokens: torch.Tensor) -> None:
        """Write a group's tokens; the shard has its name only once it is whole."""
        content = {"tokens": tokens.to("cpu", torch.int32).contiguous()}
        save_with_checksum(content, self._path(group), self._owner(group))

    def read(self, group: int) -> torch.Tensor:
        """A group's tokens. Raises ChecksumMismatch if they are not what was written."""
        return load_verified(self._path(group), self._owner(group))["tokens"]

    def _is_sound(self, group: int) -> bool:
        try:
            self.read(group)
        except ChecksumMismatch as fault:
            self._context.discard(self._path(group), str(fault))
            return False
        return True

    def _path(self, group: int) -> Path:
        return self._context.progress / f"shard-{self._name(group)}.safetensors"

    def _owner(self, group: int) -> str:
        return f"{self._context.artifact.key} {self._name(group)}"

    def _name(self, group: int) -> str:
        first = group * self._batch_size
        return f"{first:06d}-{min(first + self._batch_size, self._rows):06d}"


def build_continuations(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """Continue the fixed prompts, and write prompt and continuation as text."""
    tokenizer = load_tokenizer(context.parents["tokenizer"])
    shown = read_blocks(context.parents["real"], "test")[: stage.decoding.shown_prompts].long()
    length = stage.decoding.prompt_tokens
    prompts = [block if length is None else block[-length:] for block in shown]
    prompts += [
        torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in stage.decoding.shown_texts
    ]
    engine = engine_over(context.parents["model"], stage.decoding, stream)
    rows = []
    with torch.inference_mode():
        for number, prompt in enumerate(prompts):
            new = engine.continue_prompts(prompt[None], group=number)[0]
            rows.append({"prompt": tokenizer.decode(prompt), "continuation": tokenizer.decode(new)})
    (context.folder / CONTINUATIONS_FILE).write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    context.execution.update(stage.execution.facts())


def engine_over(folder: Path, settings: DecodingSettings, stream: Stream) -> Engine:
    """The engine that the settings lead to over the network of a folder."""
    return decoding_engine(load_network(folder), settings, stream)


def engines_at_once(folder: Path, settings: DecodingSettings, length: int) -> int | None:
    """How many engines over a folder's network fit in memory, each at work on prompts of ``length`` tokens.

    None for transformers' engine, whose memory has no bound.
    """
    network = network_without_weights(folder)
    if not is_native(settings, network.config.model_type):
        return None
    return NativeEngine(network, settings, Stream(0, 0, "none")).engines_at_once(length)


class GeneratingModule(LightningModule):
    """Continues prompts with a decoding engine."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.network = engine.network
        self._engine = engine

    def predict_step(self, batch: dict[str, Any]) -> torch.Tensor:
        """The new tokens [prompts, new tokens] of a batch {tokens [prompts, length], group: its number}."""
        return self._engine.continue_prompts(batch["tokens"], group=int(batch["group"]))
