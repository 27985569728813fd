"""Fits that resume bit-exactly after a kill, from a checkpoint at the end of an epoch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pytorch_lightning import Callback, LightningDataModule

from modelcollapse.data.batches import ONLY_RANK, Rank
from modelcollapse.errors import FitFailed
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.training.checkpoints import EpochCheckpoint, EpochListener, Pace, SafeCheckpointIO
from modelcollapse.training.module import FitModule
from modelcollapse.training.processes import give_back_memory
from modelcollapse.training.progress import BatchProgress, stage_bar
from modelcollapse.training.ranks import Join, other_ranks
from modelcollapse.training.settings import NO_ARGUMENTS, FitArguments, TrainerSettings, replaces_weights
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import ChecksumMismatch, Progress, finished_epochs, load_verified

NETWORK_PREFIX = "network."

Assemble = Callable[[Execution, Rank], tuple[FitModule, LightningDataModule]]


@dataclass(frozen=True)
class Fit:
    """What is to be fitted, as picklable values that every rank receives."""

    assemble: Assemble
    """Builds the module and a rank's part of the data; with several devices a module-level function or a partial of it.
    """
    epochs: int
    keep_best: bool
    """Whether the weights of the best epoch are kept, or the last."""
    gradient_clip: float | None
    stream: Stream
    """Of what is drawn while it fits: dropout, noise."""
    label: str
    on_nan: Literal["stop", "continue"] = "stop"
    """Whether a loss that becomes NaN or infinite ends the fit with FitFailed, or with the weights of an epoch before.

    Its last line is then that of the broken epoch.
    """
    devices: int = 1
    """World size: devices that fit together, a process each."""
    callbacks: Sequence[Choice] = ()
    """Registered callbacks, built anew in every process that has them."""
    arguments: FitArguments = NO_ARGUMENTS
    """Lightning's arguments; the data keep their limits of batches."""
    micro_batch_size: int | None = None
    """Rows of a batch that are computed at once; None computes it whole."""


def training_rows(arguments: FitArguments, rows: int, batch_size: int) -> int:
    """How many of the rows of an epoch its arguments let it take."""
    return _limited(rows, batch_size, arguments.overfit_batches or arguments.limit_train_batches)


def validation_rows(arguments: FitArguments, rows: int, batch_size: int) -> int:
    """How many rows of a validation split are validated: its first ones."""
    return _limited(rows, batch_size, arguments.overfit_batches or arguments.limit_val_batches)


def _limited(rows: int, batch_size: int, limit: int | float | None) -> int:
    if limit is None:
        return rows
    batches = limit if isinstance(limit, int) else max(1, int(-(-rows // batch_size) * limit))
    return min(rows, batches * batch_size)


def steps_per_epoch(arguments: FitArguments, batches: int) -> int:
    """Optimizer steps of an epoch of so many batches; the last one may average fewer gradients."""
    return -(-batches // arguments.accumulate_grad_batches)


class Fitted(NamedTuple):
    """A finished fit."""

    module: Any
    """With the weights that are kept in its network."""
    data: Any
    lines: list[dict[str, float]]
    """One an epoch."""


def fit_resumably(fit: Fit, *, execution: Execution, progress: Progress, on_epoch: EpochListener) -> Fitted:
    """Fit a network as rank 0, and start the other ranks if there are to be any.

    ``progress`` holds the checkpoints: called again after a kill with the same arguments, the fit goes on at the last
    epoch that has one, and ends with the same bits. ``on_epoch`` is called for every epoch, those before the kill
    included.

    Raises FitFailed, and RankLost.
    """
    epoch_checkpoint = _epoch_checkpoint(fit, execution.settings, progress, on_epoch, ONLY_RANK)
    checkpoint = _sound_checkpoint(progress, epoch_checkpoint, fit.keep_best)
    fit_rank = partial(_fit_rank, fit, execution.settings, progress.folder, progress.owner, checkpoint)
    backend = "nccl" if execution.device.type == "cuda" else "gloo"
    with other_ranks(fit.devices, backend, execution.settings, fit_rank) as join:
        rank = Rank(0, fit.devices)
        module, data = fit.assemble(execution, rank)
        steps = fit.epochs * len(data.train_dataloader())
        with join(), stage_bar(fit.label, steps, execution) as bar, fit.stream.global_rng():
            if checkpoint is not None:
                bar.advance(finished_epochs(checkpoint) * steps // fit.epochs)
            _run(fit, execution, rank, module, data, epoch_checkpoint, [BatchProgress(bar)], checkpoint)
    kept: Any = module
    # With the trainer goes the optimiser's state, which is larger than the network.
    kept.trainer = None
    give_back_memory()
    if fit.keep_best:
        if epoch_checkpoint.best_epoch < 0:
            raise FitFailed(f"{fit.label}: ended before an epoch was validated; set trainer.check_val_every_n_epoch=1")
        kept.network.load_state_dict(epoch_checkpoint.best_weights())
    elif epoch_checkpoint.is_broken:
        kept.network.load_state_dict(epoch_checkpoint.last_weights() or _last_weights(progress))
    return Fitted(kept, data, epoch_checkpoint.lines)


def _fit_rank(
    fit: Fit, settings: TrainerSettings, folder: Path, owner: str, checkpoint: Path | None, rank: Rank, join: Join
) -> None:
    """The same fit in another rank, which shows and writes nothing."""
    execution = Execution(settings, None)
    module, data = fit.assemble(execution, rank)
    progress = Progress(folder, owner, lambda path, fault: None)
    epoch_checkpoint = _epoch_checkpoint(fit, settings, progress, lambda line: None, rank)
    with join():
        _run(fit, execution, rank, module, data, epoch_checkpoint, [], checkpoint)


def _epoch_checkpoint(
    fit: Fit, settings: TrainerSettings, progress: Progress, on_epoch: EpochListener, rank: Rank
) -> EpochCheckpoint:
    stream = fit.stream if rank.index == 0 else replace(fit.stream, stage=f"{fit.stream.stage}.rank{rank.index}")
    pace = Pace(settings.checkpoint_seconds)
    return EpochCheckpoint(
        fit.label, progress, fit.keep_best, stream, on_epoch, fit.on_nan, fit.arguments.max_steps, pace
    )


def _run(
    fit: Fit,
    execution: Execution,
    rank: Rank,
    module: FitModule,
    data: LightningDataModule,
    epoch_checkpoint: EpochCheckpoint,
    watching: Sequence[Callback],
    checkpoint: Path | None,
) -> None:
    chosen = {choice: choice.build() for choice in fit.callbacks if rank.index == 0 or _is_of_all_ranks(choice)}
    # Callbacks come before the epoch checkpoint, which holds their state.
    callbacks = [*chosen.values(), epoch_checkpoint, *watching]
    module.micro_batch_size = fit.micro_batch_size
    trainer = execution.trainer(callbacks, fit.epochs, fit.gradient_clip, rank, fit.arguments, fit.label)
    trainer.fit(module, datamodule=data, ckpt_path=None if checkpoint is None else str(checkpoint))
    if not epoch_checkpoint.has_ended:
        # Killed after its last epoch: Lightning has nothing to do, and leaves out the end of the fit as well.
        for choice, callback in chosen.items():
            if replaces_weights(choice):
                callback.on_train_end(trainer, module)


def _is_of_all_ranks(choice: Choice) -> bool:
    return bool(choice.member.options.get("all_ranks", False))


def _sound_checkpoint(progress: Progress, epoch_checkpoint: "EpochCheckpoint", keep_best: bool) -> Path | None:
    """The newest checkpoint, verified together with the best weights that it refers to; None to start anew.

    Where either is damaged, all progress is deleted: an older checkpoint is never kept.
    """
    checkpoint = progress.newest_checkpoint()
    if checkpoint is None:
        return None
    examined = checkpoint
    try:
        state = SafeCheckpointIO().load_checkpoint(checkpoint)["callbacks"][epoch_checkpoint.state_key]
        if state["owner"] != progress.owner or len(state["lines"]) != finished_epochs(checkpoint):
            raise ChecksumMismatch("belongs to other work")
        if keep_best and state["best_epoch"] >= 0:
            examined = progress.best(state["best_epoch"])
            load_verified(examined, progress.best_owner(state["best_epoch"]))
    except ChecksumMismatch as fault:
        progress.discard(examined, str(fault))
        progress.clear()
        return None
    return checkpoint


def _last_weights(progress: Progress) -> dict[str, torch.Tensor]:
    checkpoint = progress.newest_checkpoint()
    assert checkpoint is not None
    state = SafeCheckpointIO().load_checkpoint(checkpoint)["state_dict"]
    return {
        name.removeprefix(NETWORK_PREFIX): tensor for name, tensor in state.items() if name.startswith(NETWORK_PREFIX)
    }
