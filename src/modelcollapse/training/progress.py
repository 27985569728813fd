"""One progress bar a stage, with the time left; plain lines where there is no terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
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

PLAIN_LINE_SECONDS = 60.0


class StageBar:
    """Progress of one stage in steps of work: a bar on a terminal, at most a line a minute elsewhere."""

    def __init__(self, label: str, total: int, bar: Progress | None) -> None:
        self._label, self._total, self._done = label, total, 0
        self._bar = bar
        self._task: TaskID | None = bar.add_task(label, total=total) if bar else None
        self._started = self._last_line = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """Count finished steps."""
        self._done += steps
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, steps)
        elif time.monotonic() - self._last_line > PLAIN_LINE_SECONDS:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        left = (self._last_line - self._started) / max(self._done, 1) * (self._total - self._done)
        print(f"  {self._label}: {self._done}/{self._total}, about {left:.0f} s left", flush=True)


@contextmanager
def stage_bar(label: str, total: int, console: Console | None) -> Iterator[StageBar]:
    """A bar for a stage of ``total`` steps; ``console`` None, or one without a terminal, draws none."""
    if console is None or not console.is_terminal:
        yield StageBar(label, total, None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("·"),
        TimeElapsedColumn(),
        TextColumn("· left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield StageBar(label, total, progress)


class BatchProgress(Callback):
    """Advances a stage's bar batch by batch of whatever loop the trainer runs."""

    def __init__(self, bar: StageBar) -> None:
        self._bar = bar

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        """Count a training batch."""
        self._bar.advance()

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        """Count a scored batch."""
        self._bar.advance()

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        """Count a written batch."""
        self._bar.advance()
