"""One progress bar a stage, with the time left; plain lines where there is no terminal."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution, ProgressListener

PLAIN_LINE_SECONDS = 60.0
SHOWN_SECONDS = 0.5
"""At least so long values stay beside the bar: to read one makes a GPU wait."""


class StageBar:
    """Progress of one stage in steps of work: a bar on a terminal, at most a line a minute elsewhere.

    Args:
        label: the artifact that is computed.
        total: steps that it takes.
        bar: where it is drawn; None draws nothing.
        on_progress: called after every step, with or without a bar.
    """

    def __init__(self, label: str, total: int, bar: Progress | None, on_progress: "ProgressListener") -> None:
        self._label, self._total, self._done = label, total, 0
        self._bar, self._on_progress = bar, on_progress
        self._task: TaskID | None = bar.add_task(label, total=total, values="") if bar else None
        self._last_shown = -math.inf
        self._started = self._last_line = time.monotonic()
        self._report()

    def advance(self, steps: int = 1) -> None:
        """Count finished steps."""
        self._done += steps
        self._report()
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, steps)
        elif time.monotonic() - self._last_line > PLAIN_LINE_SECONDS:
            self._print_line()

    def show(self, values: Callable[[], Mapping[str, Any]]) -> None:
        """Show values beside the bar, where there is one; asked for at most twice a second."""
        if self._bar is not None and self._task is not None and time.monotonic() - self._last_shown > SHOWN_SECONDS:
            shown = [f"{name} {value:.4g}" for name, value in values().items() if isinstance(value, float)]
            if shown:
                self._last_shown = time.monotonic()
                self._bar.update(self._task, values=" ".join(["·", *shown]))

    def finish(self) -> None:
        """Report the stage as done, which may have taken fewer steps than were expected."""
        self._done = self._total
        self._report()

    def _report(self) -> None:
        self._on_progress(self._label, self._done, self._total, self._seconds_left())

    def _seconds_left(self) -> float:
        return (time.monotonic() - self._started) / max(self._done, 1) * (self._total - self._done)

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        print(f"  {self._label}: {self._done}/{self._total}, about {self._seconds_left():.0f} s left", flush=True)


@contextmanager
def stage_bar(label: str, total: int, execution: "Execution") -> Iterator[StageBar]:
    """A bar for a stage of ``total`` steps; where the execution has no console, or it is no terminal, none is drawn."""
    console = execution.console
    if console is None or not console.is_terminal:
        bar = StageBar(label, total, None, execution.on_progress)
        yield bar
        bar.finish()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("·"),
        TimeElapsedColumn(),
        TextColumn("· left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = StageBar(label, total, progress, execution.on_progress)
        yield bar
        bar.finish()


class BatchProgress(Callback):
    """Advances a stage's bar batch by batch of whatever loop the trainer runs."""

    def __init__(self, bar: StageBar) -> None:
        self._bar = bar

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        """Count a training batch, and show what is logged with ``prog_bar=True``."""
        self._bar.advance()
        self._bar.show(lambda: trainer.progress_bar_metrics)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        """Count a scored batch."""
        self._bar.advance()

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        """Count a written batch."""
        self._bar.advance()
