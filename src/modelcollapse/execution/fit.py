"""Fits that go on where a kill stopped them, to the bit: checkpoints of our own at every epoch boundary."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from safetensors.torch import load_file, save_file

from modelcollapse.errors import UserError
from modelcollapse.execution.progress import BatchProgress, stage_bar
from modelcollapse.execution.trainer import Execution
from modelcollapse.seeding import Stream

BEST = "best.safetensors"


class FitFailed(UserError):
    """A fit whose loss stopped being a number."""


EpochListener = Callable[[dict[str, float]], None]


def fit_resumably(
    module: Any,
    data: LightningDataModule,
    *,
    epochs: int,
    keep_best: bool,
    gradient_clip: float | None,
    stream: Stream,
    execution: Execution,
    label: str,
    progress: Path,
    on_epoch: EpochListener,
) -> list[dict[str, float]]:
    """Fit the module's network, leave in it the weights that are kept, and return one line an epoch.

    Beside Lightning's hooks the module offers ``network``, the weights that are kept; ``epoch_line()``, what is
    recorded of the epoch that just ended, without times; ``validation_value()``, a loss whose smallest value is best.

    ``progress`` holds the checkpoints: called again after a kill with the same arguments, the fit goes on at the last
    finished epoch and ends with the same bits. Raises FitFailed when the loss becomes NaN or infinite.
    """
    boundary = EpochBoundary(progress, keep_best, stream, on_epoch)
    steps = epochs * len(data.train_dataloader())
    checkpoint = newest_checkpoint(progress)
    with stage_bar(label, steps, execution.console) as bar, stream.global_rng():
        trainer = execution.trainer([boundary, BatchProgress(bar)], epochs, gradient_clip)
        if checkpoint is not None:
            bar.advance(finished_epochs(checkpoint) * steps // epochs)
        trainer.fit(module, datamodule=data, ckpt_path=None if checkpoint is None else str(checkpoint))
    if keep_best:
        module.network.load_state_dict(load_file(progress / BEST))
    return boundary.lines


def newest_checkpoint(progress: Path) -> Path | None:
    """The checkpoint of the last finished epoch, if any."""
    return max(progress.glob("epoch-*"), default=None)


def finished_epochs(checkpoint: Path) -> int:
    """Epochs that the checkpoint's name says are finished."""
    return int(checkpoint.name.removeprefix("epoch-"))


class EpochBoundary(Callback):
    """Reseeds at each epoch's start, and at its end records, keeps the best weights and writes a checkpoint."""

    def __init__(self, progress: Path, keep_best: bool, stream: Stream, on_epoch: EpochListener) -> None:
        self._progress, self._keep_best, self._stream, self._on_epoch = progress, keep_best, stream, on_epoch
        self.lines: list[dict[str, float]] = []
        self._best = math.inf

    def state_dict(self) -> dict[str, Any]:
        """What a resumed fit must know of the epochs before."""
        return {"lines": self.lines, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the epochs before from a checkpoint."""
        self.lines, self._best = list(state_dict["lines"]), float(state_dict["best"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of the epochs that a resumed fit does not repeat."""
        for line in self.lines:
            self._on_epoch(line)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's own stream of randomness (dropout)."""
        self._stream.at(trainer.current_epoch).seed_global()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Record the epoch; Lightning has validated by now."""
        line = {"epoch": trainer.current_epoch, "step": trainer.global_step, **pl_module.epoch_line()}
        value = pl_module.validation_value()
        _refuse_non_finite(line, value)
        self.lines.append(line)
        if self._keep_best and value < self._best:
            self._best = value
            self._save_best(pl_module.network)
        self._save_checkpoint(trainer)
        self._on_epoch(line)

    def _save_best(self, network: torch.nn.Module) -> None:
        # Tied weights are one tensor under two names, which safetensors refuses to write twice: copies are fine.
        weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        staged = self._progress / f".{BEST}"
        save_file(weights, staged)
        staged.replace(self._progress / BEST)

    def _save_checkpoint(self, trainer: Trainer) -> None:
        path = self._progress / f"epoch-{trainer.current_epoch + 1:05d}"
        trainer.save_checkpoint(str(path))
        for older in self._progress.glob("epoch-*"):
            if older.name < path.name:
                shutil.rmtree(older)


def _refuse_non_finite(line: dict[str, float], validation_value: float) -> None:
    broken = [name for name, value in line.items() if not math.isfinite(value)]
    if broken or not math.isfinite(validation_value):
        names = ", ".join(broken) or "the validation loss"
        raise FitFailed(
            f"{names} became NaN or infinite in epoch {line['epoch']}, by step {line['step']};"
            " a lower model.training.learning_rate or a model.training.gradient_clip may help"
        )
