"""Fits that go on where a kill stopped them, to the bit: checkpoints of our own at every epoch epoch_checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule

from modelcollapse.data.batches import EVERYTHING, Share
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.training.checkpoints import EpochCheckpoint, EpochListener, SafeCheckpointIO
from modelcollapse.training.processes import give_back_memory
from modelcollapse.training.progress import BatchProgress, stage_bar
from modelcollapse.training.ranks import Meet, other_ranks
from modelcollapse.training.settings import TrainerSettings, replaces_weights
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import ChecksumMismatch, Progress, finished_epochs, load_verified

NETWORK_PREFIX = "network."

Assemble = Callable[[Execution, Share], tuple[LightningModule, LightningDataModule]]


@dataclass(frozen=True)
class Fit:
    """A fit, told as what every process that shares it can be told."""

    assemble: Assemble
    """Makes the module, and its share of the data; a function of a module, or a partial of one, where devices share.

    Beside Lightning's hooks the module offers ``network``, the weights that are kept; ``epoch_line()``, what is
    recorded of the epoch that just ended, without times; ``validation_value()``, a loss whose smallest value is best.
    Both values are those of all ranks.
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
    """Devices that share it, a process each."""
    callbacks: Sequence[Choice] = ()
    """Registered callbacks, made anew in every process that has them."""


class Fitted(NamedTuple):
    """A finished fit."""

    module: Any
    """With the weights that are kept in its network."""
    data: Any
    lines: list[dict[str, float]]
    """One an epoch."""


def fit_resumably(fit: Fit, *, execution: Execution, progress: Progress, on_epoch: EpochListener) -> Fitted:
    """Fit a network, as this process and those that it starts to share the work.

    ``progress`` holds the checkpoints: called again after a kill with the same arguments, the fit goes on at the last
    finished epoch and ends with the same bits. ``on_epoch`` is told of every epoch, those before the kill included.

    Raises FitFailed, and RankLost.
    """
    epoch_checkpoint = _boundary(fit, progress, on_epoch, EVERYTHING)
    checkpoint = _sound_checkpoint(progress, epoch_checkpoint, fit.keep_best)
    take_part = partial(_take_part, fit, execution.settings, progress.folder, progress.owner, checkpoint)
    backend = "nccl" if execution.device.type == "cuda" else "gloo"
    with other_ranks(fit.devices, backend, execution.settings, take_part) as meet:
        share = Share(0, fit.devices)
        module, data = fit.assemble(execution, share)
        steps = fit.epochs * len(data.train_dataloader())
        with meet(), stage_bar(fit.label, steps, execution.console) as bar, fit.stream.global_rng():
            if checkpoint is not None:
                bar.advance(finished_epochs(checkpoint) * steps // fit.epochs)
            _run(fit, execution, share, module, data, epoch_checkpoint, [BatchProgress(bar)], checkpoint)
    kept: Any = module
    # With the trainer goes the optimiser's state, which is larger than the network.
    kept.trainer = None
    give_back_memory()
    if fit.keep_best:
        epoch = epoch_checkpoint.best_epoch
        kept.network.load_state_dict(load_verified(progress.best(epoch), progress.best_owner(epoch)))
    elif epoch_checkpoint.is_broken:
        kept.network.load_state_dict(_last_weights(progress))
    return Fitted(kept, data, epoch_checkpoint.lines)


def _take_part(
    fit: Fit, settings: TrainerSettings, folder: Path, owner: str, checkpoint: Path | None, share: Share, meet: Meet
) -> None:
    """What another rank does: the same fit, with nobody watching and nothing written."""
    execution = Execution(settings, None, lambda generation, line: None)
    module, data = fit.assemble(execution, share)
    epoch_checkpoint = _boundary(fit, Progress(folder, owner, lambda path, fault: None), lambda line: None, share)
    with meet():
        _run(fit, execution, share, module, data, epoch_checkpoint, [], checkpoint)


def _boundary(fit: Fit, progress: Progress, on_epoch: EpochListener, share: Share) -> EpochCheckpoint:
    stream = fit.stream if share.rank == 0 else replace(fit.stream, stage=f"{fit.stream.stage}.rank{share.rank}")
    return EpochCheckpoint(fit.label, progress, fit.keep_best, stream, on_epoch, fit.on_nan)


def _run(
    fit: Fit,
    execution: Execution,
    share: Share,
    module: LightningModule,
    data: LightningDataModule,
    epoch_checkpoint: EpochCheckpoint,
    watching: Sequence[Callback],
    checkpoint: Path | None,
) -> None:
    chosen = {choice: choice.build() for choice in fit.callbacks if share.rank == 0 or _is_of_all_ranks(choice)}
    # The checkpoint of an epoch is written when the others have seen its end: it holds their state.
    callbacks = [*chosen.values(), epoch_checkpoint, *watching]
    trainer = execution.trainer(callbacks, fit.epochs, fit.gradient_clip, share)
    trainer.fit(module, datamodule=data, ckpt_path=None if checkpoint is None else str(checkpoint))
    if not epoch_checkpoint.has_ended:
        # Killed after its last epoch: Lightning has nothing to do, and leaves out the end of the fit as well.
        for choice, callback in chosen.items():
            if replaces_weights(choice):
                callback.on_train_end(trainer, module)


def _is_of_all_ranks(choice: Choice) -> bool:
    return bool(choice.member.options.get("all_ranks", False))


def _sound_checkpoint(progress: Progress, epoch_checkpoint: "EpochCheckpoint", keep_best: bool) -> Path | None:
    """The newest checkpoint, once it and the best weights that it speaks of are known to be what this fit wrote.

    Where they are not, all progress goes: an older checkpoint is never kept.
    """
    checkpoint = progress.newest_checkpoint()
    if checkpoint is None:
        return None
    examined = checkpoint
    try:
        state = SafeCheckpointIO().load_checkpoint(checkpoint)["callbacks"][epoch_checkpoint.state_key]
        if state["owner"] != progress.owner or len(state["lines"]) != finished_epochs(checkpoint):
            raise ChecksumMismatch("belongs to other work")
        if keep_best:
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
