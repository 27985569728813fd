"""What a run is computing now, and how it ended where it failed: ``progress.json`` and ``error.json`` in its folder.

Who waits for a run, such as a sweep, reads these files and nothing that the run prints. Writing them never stops a run:
on a full disk they are missing.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from modelcollapse.credentials import without_secrets
from modelcollapse.errors import UserError, is_out_of_memory
from modelcollapse.record.claiming import OtherChain, is_untouched
from modelcollapse.store.files import temporary_beside

PROGRESS_FILE, ERROR_FILE = "progress.json", "error.json"
WRITE_SECONDS = 1.0
"""A stage's progress is written at most once in so many seconds, its beginning always."""

ErrorKind = Literal["user", "out_of_memory", "interrupted", "exception"]


@dataclass(frozen=True)
class StageProgress:
    """How much of a stage is done, in steps such as batches."""

    label: str
    """The artifact that is computed, such as ``generation 2 · fit``."""
    done: int
    total: int
    seconds_left: float
    """At the pace so far."""
    generation: int | None = None
    """The first generation that is not recorded yet; None before the record begins and after the last one."""

    @property
    def share(self) -> float:
        """The part that is done, between 0 and 1."""
        return self.done / max(1, self.total)


@dataclass(frozen=True)
class RunError:
    """The error that ended a run."""

    kind: ErrorKind
    """``user``: the message says what to change. ``interrupted``: by a signal that asks a process to end."""
    type: str
    """The exception's class; of a message for the user that of the exception which it explains."""
    message: str
    """One line."""
    generation: int | None = None
    """The generation that was being computed."""
    stage: str | None = None
    """The label of the artifact that was being computed, where it counts its steps."""
    traceback: str | None = None
    """As Python prints it: of exceptions without a message for the user, and of code that the user registered."""

    @property
    def line(self) -> str:
        """The error in one line, as a list of failed runs shows it."""
        return self.message if self.kind in ("user", "out_of_memory") else f"{self.type}: {self.message}".rstrip(": ")


class RunState:
    """Keeps ``progress.json`` and ``error.json`` of a run; a context manager around all that the run does.

    Entering it removes the files of an earlier run in the same folder. Leaving it removes ``progress.json``, and
    writes ``error.json`` where an exception passes. A folder that is not there, or empty, stays as it is: in it nothing
    has begun.

    Args:
        folder: the run folder; None writes and removes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.generation: int | None = None
        """The generation that is being computed, for whom to set who knows it."""
        self._folder = folder
        self._stage: str | None = None
        self._written = 0.0

    def __enter__(self) -> Self:
        self._remove(PROGRESS_FILE)
        self._remove(ERROR_FILE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove(PROGRESS_FILE)
        with suppress(OSError):
            if error is None or self._folder is None or isinstance(error, OtherChain):
                return
            if not is_untouched(self._folder):
                self._write(ERROR_FILE, asdict(run_error(error, self.generation, self._stage)))

    def progress(self, label: str, done: int, total: int, seconds_left: float) -> None:
        """Write how far a stage is; one that is done has no progress any more."""
        if done >= total:
            self._stage = None
            self._remove(PROGRESS_FILE)
            return
        if label == self._stage and time.monotonic() - self._written < WRITE_SECONDS:
            return
        self._stage, self._written = label, time.monotonic()
        progress = StageProgress(label, done, total, round(seconds_left, 1), self.generation)
        with suppress(OSError):
            self._write(PROGRESS_FILE, asdict(progress))

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file that readers see whole. Nothing waits for the disk: after a power failure nobody reads it."""
        if self._folder is None:
            return
        path = self._folder / name
        temporary = temporary_beside(path)
        try:
            temporary.write_text(json.dumps(without_secrets(content), indent=1, ensure_ascii=False) + "\n", "utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _remove(self, name: str) -> None:
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)


def run_error(error: BaseException, generation: int | None = None, stage: str | None = None) -> RunError:
    """Describe the exception that ends a run."""
    kind = _kind(error)
    if not isinstance(error, UserError):
        trace = "".join(traceback.format_exception(error)) if kind == "exception" else None
        return RunError(kind, _class_name(error), _first_line(error), generation, stage, trace)
    cause = error.__cause__ or error
    message = " ".join(error.message.split())
    if error.traceback:
        message += f" ({_class_name(cause)}: {_first_line(cause)})"
    return RunError(kind, _class_name(cause), message, generation, stage, error.traceback or None)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _kind(error: BaseException) -> ErrorKind:
    if not isinstance(error, Exception):
        return "interrupted"
    if is_out_of_memory(error) or (error.__cause__ is not None and is_out_of_memory(error.__cause__)):
        return "out_of_memory"
    return "user" if isinstance(error, UserError) else "exception"


def _class_name(error: BaseException) -> str:
    """The name of an exception's class as Python prints it."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"


def read_progress(folder: Path) -> StageProgress | None:
    """What the run of this folder is computing; None where no stage that counts its steps is under way.

    A run that was killed leaves its last progress behind.
    """
    content = _read(folder / PROGRESS_FILE)
    return None if content is None else StageProgress(**content)


def read_error(folder: Path) -> RunError | None:
    """The error that ended the run of this folder; None where it runs, is finished, or was killed."""
    content = _read(folder / ERROR_FILE)
    return None if content is None else RunError(**content)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content
