"""Checkpoints as safetensors and JSON: nothing in them can execute when they are loaded."""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import CheckpointIO

from modelcollapse.errors import FitFailed
from modelcollapse.seeding import Stream
from modelcollapse.store.files import delete, sync
from modelcollapse.training.verified_files import (
    ChecksumMismatch,
    Progress,
    load_verified,
    save_with_checksum,
    write_with_checksum,
)

STRUCTURE, TENSORS = "structure.json", "tensors.safetensors"


class SafeCheckpointIO(CheckpointIO):
    """Writes a Lightning checkpoint as a folder of one safetensors and one JSON file.

    The folder is staged beside its place and renamed, so a checkpoint is whole or absent. The tensors carry a checksum
    and the digest of their JSON file: neither can be altered or exchanged unnoticed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint to the folder ``path``. Raises TypeError for content that is not plain data."""
        target = Path(path)
        staged = target.with_name(f".{target.name}.staged")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        tensors: dict[str, torch.Tensor] = {}
        structure = json.dumps(_plain(checkpoint, tensors))
        (staged / STRUCTURE).write_text(structure, encoding="utf-8")
        sync(staged / STRUCTURE)
        write_with_checksum(tensors, staged / TENSORS, _digest(structure))
        shutil.rmtree(target, ignore_errors=True)
        staged.rename(target)
        sync(target.parent)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint in the folder ``path``, its tensors on the CPU. Raises ChecksumMismatch if it was altered."""
        folder = Path(path)
        try:
            structure = (folder / STRUCTURE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ChecksumMismatch(f"holds no {STRUCTURE} that can be read ({error})") from error
        tensors = load_verified(folder / TENSORS, _digest(structure))
        restored: dict[str, Any] = _restored(json.loads(structure), tensors)
        return restored

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete the checkpoint folder."""
        shutil.rmtree(path, ignore_errors=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The value as JSON, its tensors moved out; dictionaries become item lists, since their keys may be numbers."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[key, _plain(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_plain(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds plain data only, not {type(value).__name__}")


def _restored(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: _restored(item, tensors) for key, item in content}
    items = [_restored(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


ADVICE = "a lower model.training.learning_rate or a model.training.gradient_clip may help"

EpochListener = Callable[[dict[str, float]], None]
WORTH = 20
"""Seconds of work that a checkpoint is worth, for each second that it takes to write."""


class Pace:
    """Decides when a checkpoint is due: not before there is enough to lose.

    Args:
        seconds: of work since the last one, at least; 0: a checkpoint after every epoch.
        clock: seconds that only grow.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock, self._cost = seconds, clock, 0.0
        self._since = clock()

    def start(self) -> None:
        """Count from now on."""
        self._since = self._clock()

    def is_due(self) -> bool:
        """Whether the work since the last checkpoint is long enough, and long beside the time that one takes."""
        return self.seconds <= 0 or self._clock() - self._since >= max(self.seconds, WORTH * self._cost)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measures how long a checkpoint takes that is written inside, and counts from its end on."""
        begun = self._clock()
        yield
        self.start()
        self._cost = self._since - begun


def copied_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A network's weights as they are now, on the CPU; weights that are tied are copied once."""
    copies: dict[int, torch.Tensor] = {}
    found = {}
    for name, tensor in network.state_dict().items():
        place = tensor.data_ptr()
        if place not in copies:
            copies[place] = tensor.detach().to("cpu", copy=True)
        found[name] = copies[place]
    return found


class EpochCheckpoint(Checkpoint):
    """Callback that reseeds before each epoch, and after it records, keeps the best weights and writes a checkpoint.

    A checkpoint is written where one is due. The best weights are kept in memory until then; after a kill the epochs
    since the last checkpoint are computed again, to the same bits.

    As a ``Checkpoint`` it comes last at an epoch's end: after the module's hook, and after callbacks that watch values.

    In a DDP fit each rank has one, with a stream of its own, and rank 0's alone records and writes.
    """

    def __init__(
        self,
        label: str,
        progress: Progress,
        keep_best: bool,
        stream: Stream,
        on_epoch: EpochListener,
        on_nan: Literal["stop", "continue"],
        max_steps: int | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._pace = pace or Pace(0)
        self._label, self._progress, self._keep_best = label, progress, keep_best
        self._stream, self._on_epoch, self._on_nan = stream, on_epoch, on_nan
        # Lightning's own limit would leave an epoch that it cuts short without validation, and could not resume.
        self._max_steps = max_steps
        self._losses: list[torch.Tensor] = []
        self.lines: list[dict[str, float]] = []
        self._best = math.inf
        self.best_epoch = -1
        self._held: dict[str, torch.Tensor] | None = None
        """The weights that are to be kept, of the best epoch or of the last, as long as no file holds them."""
        self.is_broken = False
        """Whether the loss became NaN or infinite."""
        self.has_ended = False
        """Whether Lightning came to the end of the fit, and not only found it finished."""
        self._was_stopped = False

    def state_dict(self) -> dict[str, Any]:
        """State of the epochs so far, for a resumed fit."""
        return {
            "owner": self._progress.owner,
            "lines": self.lines,
            "best": self._best,
            "best_epoch": self.best_epoch,
            "stopped": self._was_stopped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of earlier epochs from a checkpoint."""
        self.lines, self._best = list(state_dict["lines"]), float(state_dict["best"])
        self.best_epoch = int(state_dict["best_epoch"])
        self._was_stopped = bool(state_dict["stopped"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epochs that a resumed fit does not repeat, and stop where a callback had stopped it."""
        for line in self.lines:
            self._on_epoch(line)
        trainer.should_stop = self._was_stopped
        self._pace.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's own stream of randomness (dropout)."""
        self._losses.clear()
        # Values that are logged in some epochs would otherwise stay in the lines of all after them, until a kill.
        trainer.callback_metrics.clear()
        self._stream.at(trainer.current_epoch).seed_global()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *arguments: Any) -> None:
        """Keep the loss of the batch where it is, since looking at each would make a GPU wait; end after all steps."""
        self._losses.append(outputs["loss"])
        if self._max_steps is not None and trainer.global_step >= self._max_steps:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Record the epoch; Lightning has validated by now."""
        line = {"epoch": trainer.current_epoch, "step": trainer.global_step, **pl_module.recorded()}
        logged = _logged(trainer)
        value = pl_module.validation_value() if pl_module.is_validated else None
        if not all(map(math.isfinite, (*line.values(), value or 0.0))):
            self._break_off(trainer, line)
            return
        line = {**logged, **line}
        self.lines.append(line)
        self._was_stopped = trainer.should_stop
        is_best = False
        if self._keep_best and value is not None and value < self._best:
            is_best = True
            self._best, self.best_epoch = value, trainer.current_epoch
        # The first rank decides: they write together.
        is_due = self._pace.seconds <= 0 or trainer.strategy.broadcast(self._pace.is_due())
        if trainer.is_global_zero and (is_best or (self._on_nan == "continue" and not self._keep_best)):
            self._held = copied_weights(pl_module.network) if is_best or not is_due else None
        if is_due:
            with self._pace.writing():
                self._save(trainer)
        # After the checkpoint, where there is one; what a kill takes back is reported again, with equal values.
        self._on_epoch(line)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that the fit has ended."""
        self.has_ended = True

    def _break_off(self, trainer: Trainer, line: dict[str, float]) -> None:
        message = self._breakdown(trainer, line)
        if self._on_nan == "stop":
            raise FitFailed(f"{message}; {ADVICE}. trainer.on_nan=continue goes on with the weights of an epoch before")
        if not self.lines:
            raise FitFailed(f"{message}, before any epoch was finished: there are no weights to go on with; {ADVICE}")
        if trainer.is_global_zero:
            print(f"  {message}: the weights of an epoch before are taken", flush=True)
        self.is_broken = trainer.should_stop = True
        self.lines.append(line)
        self._on_epoch(line)

    def _breakdown(self, trainer: Trainer, line: dict[str, float]) -> str:
        names = ", ".join(name for name, value in line.items() if not math.isfinite(value)) or "the validation loss"
        # Summed over ranks: the loss may have become NaN in one of them only.
        is_broken: Any = trainer.strategy.reduce((~torch.stack(self._losses).isfinite()).int(), reduce_op="sum")
        broken_steps = is_broken.nonzero()
        place = f"by step {line['step']}"
        if len(broken_steps):
            batches = trainer.accumulate_grad_batches
            before = int(line["step"]) - -(-len(self._losses) // batches)
            place = f"at step {before + int(broken_steps[0]) // batches + 1}"
        return f"{self._label}: {names} became NaN or infinite in epoch {line['epoch']}, {place}"

    def best_weights(self) -> dict[str, torch.Tensor]:
        """The weights of the best epoch. Raises ChecksumMismatch where their file was altered."""
        if self._held is not None:
            return self._held
        return load_verified(self._progress.best(self.best_epoch), self._progress.best_owner(self.best_epoch))

    def last_weights(self) -> dict[str, torch.Tensor] | None:
        """The weights of the last epoch that was not broken; None where the newest checkpoint holds them."""
        return self._held

    def _save(self, trainer: Trainer) -> None:
        """Write a checkpoint, and delete the one before with the weights that only it refers to."""
        # Before the checkpoint that refers to them: after a kill in between, the older pair is still whole.
        if self._keep_best and self._held is not None:
            owner = self._progress.best_owner(self.best_epoch)
            save_with_checksum(self._held, self._progress.best(self.best_epoch), owner)
        self._held = None
        path = self._progress.folder / f"epoch-{trainer.current_epoch + 1:05d}"
        trainer.save_checkpoint(str(path))
        if not trainer.is_global_zero:
            return
        kept = {path.name, self._progress.best(self.best_epoch).name}
        for older in self._progress.folder.iterdir():
            if older.name not in kept:
                delete(older)


RESERVED = ("generation", "epoch", "step", "cumulative_step")
"""Names of an epoch's line that no callback and no module can log."""


def _logged(trainer: Trainer) -> dict[str, float]:
    """The numbers that callbacks and the module have logged in this epoch; NaN and infinities are left out.

    Every rank asks: values that are averaged over the ranks are found together.
    """
    values = {name: float(value) for name, value in trainer.callback_metrics.items() if name not in RESERVED}
    return {name: value for name, value in values.items() if math.isfinite(value)}
