"""Fits that go on where a kill stopped them, to the bit: checkpoints of our own at every epoch boundary."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

from modelcollapse.errors import FitFailed
from modelcollapse.execution.checkpoint import SafeCheckpointIO
from modelcollapse.execution.progress import BatchProgress, stage_bar
from modelcollapse.execution.sealing import Unsealed, load_sealed, save_sealed
from modelcollapse.execution.trainer import Execution
from modelcollapse.seeding import Stream
from modelcollapse.store import Workshop
from modelcollapse.store.files import delete

CHECKPOINT_NAME = re.compile(r"epoch-\d{5,}")
NETWORK_PREFIX = "network."
ADVICE = "a lower model.training.learning_rate or a model.training.gradient_clip may help"


EpochListener = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Progress:
    """Where a fit leaves what it goes on from, and whose fit it is."""

    folder: Path
    owner: str
    """Name of the fit; what another has left is not gone on from."""
    discard: Callable[[Path, str], None]
    """Told of a file that is not what was left there, and in what way: takes it away, or raises."""

    @classmethod
    def of(cls, workshop: Workshop) -> "Progress":
        """The progress of the piece that is made in a workshop."""
        return cls(workshop.progress, workshop.piece.key, workshop.discard)

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint of the last finished epoch, if any."""
        return newest_checkpoint(self.folder)

    def best(self, epoch: int) -> Path:
        """The weights of that epoch, while they are the best."""
        return self.folder / f"best-{epoch:05d}.safetensors"

    def best_owner(self, epoch: int) -> str:
        """Whose weights those are."""
        return f"{self.owner} best {epoch}"

    def clear(self) -> None:
        """Start anew."""
        for path in self.folder.iterdir():
            delete(path)


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
    progress: Progress,
    on_epoch: EpochListener,
    on_nan: Literal["stop", "continue"] = "stop",
) -> list[dict[str, float]]:
    """Fit the module's network, leave in it the weights that are kept, and return one line an epoch.

    Beside Lightning's hooks the module offers ``network``, the weights that are kept; ``epoch_line()``, what is
    recorded of the epoch that just ended, without times; ``validation_value()``, a loss whose smallest value is best.

    ``progress`` holds the checkpoints: called again after a kill with the same arguments, the fit goes on at the last
    finished epoch and ends with the same bits. When the loss becomes NaN or infinite, FitFailed is raised; with
    ``on_nan="continue"`` the fit ends there, its last line is that of the broken epoch, and the weights are those of
    an epoch before it, if there is one.
    """
    boundary = EpochBoundary(label, progress, keep_best, stream, on_epoch, on_nan)
    checkpoint = _sound_checkpoint(progress, boundary, keep_best)
    steps = epochs * len(data.train_dataloader())
    with stage_bar(label, steps, execution.console) as bar, stream.global_rng():
        trainer = execution.trainer([boundary, BatchProgress(bar)], epochs, gradient_clip)
        if checkpoint is not None:
            bar.advance(finished_epochs(checkpoint) * steps // epochs)
        trainer.fit(module, datamodule=data, ckpt_path=None if checkpoint is None else str(checkpoint))
    if keep_best:
        epoch = boundary.best_epoch
        module.network.load_state_dict(load_sealed(progress.best(epoch), progress.best_owner(epoch)))
    elif boundary.is_broken:
        module.network.load_state_dict(_last_weights(progress))
    return boundary.lines


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the last finished epoch among what lies in the folder, if any."""
    return max((path for path in folder.glob("epoch-*") if CHECKPOINT_NAME.fullmatch(path.name)), default=None)


def finished_epochs(checkpoint: Path) -> int:
    """Epochs that the checkpoint's name says are finished."""
    return int(checkpoint.name.removeprefix("epoch-"))


def _sound_checkpoint(progress: Progress, boundary: "EpochBoundary", keep_best: bool) -> Path | None:
    """The newest checkpoint, once it and the best weights that it speaks of are known to be what this fit wrote.

    Where they are not, all progress goes: an older checkpoint is never kept.
    """
    checkpoint = progress.newest_checkpoint()
    if checkpoint is None:
        return None
    examined = checkpoint
    try:
        state = SafeCheckpointIO().load_checkpoint(checkpoint)["callbacks"][boundary.state_key]
        if state["owner"] != progress.owner or len(state["lines"]) != finished_epochs(checkpoint):
            raise Unsealed("belongs to other work")
        if keep_best:
            examined = progress.best(state["best_epoch"])
            load_sealed(examined, progress.best_owner(state["best_epoch"]))
    except Unsealed as fault:
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


class EpochBoundary(Callback):
    """Reseeds at each epoch's start, and at its end records, keeps the best weights and writes a checkpoint."""

    def __init__(
        self,
        label: str,
        progress: Progress,
        keep_best: bool,
        stream: Stream,
        on_epoch: EpochListener,
        on_nan: Literal["stop", "continue"],
    ) -> None:
        self._label, self._progress, self._keep_best = label, progress, keep_best
        self._stream, self._on_epoch, self._on_nan = stream, on_epoch, on_nan
        self._losses: list[torch.Tensor] = []
        self.lines: list[dict[str, float]] = []
        self._best = math.inf
        self.best_epoch = -1
        self.is_broken = False
        """Whether the loss stopped being a number."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed fit must know of the epochs before."""
        return {
            "owner": self._progress.owner,
            "lines": self.lines,
            "best": self._best,
            "best_epoch": self.best_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the epochs before from a checkpoint."""
        self.lines, self._best = list(state_dict["lines"]), float(state_dict["best"])
        self.best_epoch = int(state_dict["best_epoch"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of the epochs that a resumed fit does not repeat."""
        for line in self.lines:
            self._on_epoch(line)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's own stream of randomness (dropout)."""
        self._losses.clear()
        self._stream.at(trainer.current_epoch).seed_global()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *arguments: Any) -> None:
        """Keep the loss of the step where it is: looking at each would make a GPU wait."""
        self._losses.append(outputs["loss"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Record the epoch; Lightning has validated by now."""
        line = {"epoch": trainer.current_epoch, "step": trainer.global_step, **pl_module.epoch_line()}
        value = pl_module.validation_value()
        if not all(map(math.isfinite, (*line.values(), value))):
            self._break_off(trainer, line)
            return
        self.lines.append(line)
        if self._keep_best and value < self._best:
            self._best, self.best_epoch = value, trainer.current_epoch
            self._save_best(pl_module.network)
        self._save_checkpoint(trainer)
        self._on_epoch(line)

    def _break_off(self, trainer: Trainer, line: dict[str, float]) -> None:
        message = self._breakdown(line)
        if self._on_nan == "stop":
            raise FitFailed(f"{message}; {ADVICE}. trainer.on_nan=continue goes on with the weights of an epoch before")
        if not self.lines:
            raise FitFailed(f"{message}, before any epoch was finished: there are no weights to go on with; {ADVICE}")
        print(f"  {message}: the weights of an epoch before are taken", flush=True)
        self.is_broken = trainer.should_stop = True
        self.lines.append(line)
        self._on_epoch(line)

    def _breakdown(self, line: dict[str, float]) -> str:
        names = ", ".join(name for name, value in line.items() if not math.isfinite(value)) or "the validation loss"
        broken_steps = (~torch.stack(self._losses).isfinite()).nonzero()
        first = int(line["step"]) - len(self._losses) + int(broken_steps[0]) if len(broken_steps) else None
        place = f"by step {line['step']}" if first is None else f"at step {first + 1}"
        return f"{self._label}: {names} became NaN or infinite in epoch {line['epoch']}, {place}"

    def _save_best(self, network: torch.nn.Module) -> None:
        # Tied weights are one tensor under two names, which safetensors refuses to write twice: copies are fine.
        weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        save_sealed(weights, self._progress.best(self.best_epoch), self._progress.best_owner(self.best_epoch))

    def _save_checkpoint(self, trainer: Trainer) -> None:
        """Write the checkpoint, and drop what only the one before spoke of."""
        path = self._progress.folder / f"epoch-{trainer.current_epoch + 1:05d}"
        trainer.save_checkpoint(str(path))
        kept = {path.name, self._progress.best(self.best_epoch).name}
        for older in self._progress.folder.iterdir():
            if older.name not in kept:
                delete(older)
