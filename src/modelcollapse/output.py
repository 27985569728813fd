"""Standard output and error that survive: whatever cannot be printed ends no work and damages nothing.

A terminal may not know a letter (``PYTHONIOENCODING=ascii``), the reader of a pipe may have seen enough (``| head``),
the disk that output goes to may be full, and a stream may be closed (``>&-``). Then letters are replaced, lines are
lost, and the work goes on; a command that prints what was asked for, and nothing else, calls :func:`verify_printed`.
"""

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO, cast

LEGIBLE = "modelcollapse.legible"
"""Name of the error handler that replaces letters which a stream cannot encode."""
SIGNS = {
    **{"·": "-", "–": "-", "…": "...", "→": "->", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "−": "-"},
    **{"■": "#", "□": ".", "▸": ">"},
    **dict(zip("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "-\\|/-\\|/-\\", strict=True)),
}
"""Signs of our own, those of a sweep's table and of the wheel beside a bar, in ASCII.

Other letters are printed by their numbers, as Python writes them in a string.
"""
STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}


def _legible(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    known = (SIGNS.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return "".join(known), error.end


codecs.register_error(LEGIBLE, _legible)


class _Survivor(io.RawIOBase):
    """A file descriptor to write to; errors are kept in mind instead of raised."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        """Write what can be written; all is taken for written where nothing can."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            # A reader that is slow, of a pipe that does not wait by itself.
            select.select([], [self._descriptor], [])
            return 0
        except OSError as error:
            self.failure = self.failure or error
            return memoryview(data).nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


@contextmanager
def surviving_output() -> Iterator[None]:
    """Within the block, printing raises nothing. Streams that others replaced, as in a notebook, are left alone."""
    _fill_descriptors()
    with ExitStack() as kept:
        for name in ("stdout", "stderr"):
            kept.enter_context(_surviving(name))
        yield


class NotPrinted(Exception):
    """What was asked for could not be printed: of commands that do nothing else."""


def verify_printed() -> None:
    """Raise NotPrinted where standard output could not be written."""
    if lost := lost_output():
        raise NotPrinted(lost)


def lost_output() -> str | None:
    """Why lines were lost, or None where none were; a reader that has seen enough wants no more."""
    sys.stdout.flush()
    failure = _failure(sys.stdout)
    if failure is None or failure.errno == errno.EPIPE:
        return None
    return f"standard output: {failure.strerror}; not all lines could be printed"


def _fill_descriptors() -> None:
    """Open the null device where a standard stream is closed: the next file would get its number, and what is printed.

    Libraries write to these numbers whatever lies behind them, and processes that are started inherit them.
    """
    for descriptor in STREAMS.values():
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken.
            opened = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(opened, True)


@contextmanager
def _surviving(name: str) -> Iterator[None]:
    before: TextIO | None = getattr(sys, name)
    if before is not None and not _is_own(before, STREAMS[name]):
        yield
        return
    replaced = _survivor(before, STREAMS[name])
    setattr(sys, name, replaced)
    try:
        yield
    finally:
        replaced.flush()
        if getattr(sys, name) is replaced:
            setattr(sys, name, before)


def _is_own(stream: TextIO, descriptor: int) -> bool:
    """Whether the stream is Python's own for this descriptor, and not yet one of ours."""
    try:
        return type(stream) is io.TextIOWrapper and stream.fileno() == descriptor and not _survivor_of(stream)
    except (OSError, ValueError):
        return False


def _survivor(before: TextIO | None, descriptor: int) -> io.TextIOWrapper:
    if before is None:
        return io.TextIOWrapper(_buffered(_Survivor(os.open(os.devnull, os.O_WRONLY))), encoding="utf-8")
    before.flush()
    return io.TextIOWrapper(
        _buffered(_Survivor(descriptor)),
        encoding=before.encoding,
        errors=LEGIBLE,
        newline="\n",
        line_buffering=bool(before.line_buffering),
        write_through=getattr(before, "write_through", False),
    )


def _buffered(raw: io.RawIOBase) -> io.BufferedWriter:
    return io.BufferedWriter(cast(Any, raw))


def _survivor_of(stream: TextIO) -> _Survivor | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Survivor) else None


def _failure(stream: TextIO) -> OSError | None:
    survivor = _survivor_of(stream)
    return survivor.failure if survivor else None
