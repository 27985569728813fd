"""Errors that a user can fix, and interruption by signals."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SWALLOWED_SECONDS = 0.05
"""After which a signal is sent again that came where Python swallows exceptions."""


class UserError(Exception):
    """An error that the user can fix: the message says what is wrong and what to do; no traceback is shown.

    Args:
        message: what is wrong and what to do.
        traceback: of code that the user registered, which then follows the message.
    """

    def __init__(self, message: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.message, self.traceback = message, traceback

    def __str__(self) -> str:
        return "\n".join(part for part in (self.message, self.traceback) if part)


class FitFailed(UserError):
    """The loss of a fit became NaN or infinite."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; a BaseException, so that no library swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number


@contextmanager
def interruptible(before: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raise Interrupted inside the block at Ctrl-C or SIGTERM, after ``before``, which a second one cuts short."""

    def stop(number: int, frame: FrameType | None) -> None:
        for other in STOP_SIGNALS:
            signal.signal(other, stop_at_once)
        before()
        stop_at_once(number, frame)

    def stop_at_once(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        with _signals_come_again():
            yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _signals_come_again() -> Iterator[None]:
    """Send a signal again whose exception Python swallowed, as it does inside destructors and weak references."""
    usual = sys.unraisablehook

    def send_again(unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, Interrupted):
            threading.Timer(SWALLOWED_SECONDS, os.kill, (os.getpid(), unraisable.exc_value.number)).start()
        else:
            usual(unraisable)

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = usual


FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a disk, a quota or a file that can take no more."""
FULL_DISK_WORDS = tuple(f"(os error {number})" for number in FULL_DISK)
"""The messages of libraries written in Rust, whose errors carry no number."""
OUT_OF_MEMORY_WORDS = "can't allocate memory"
"""Message of torch's RuntimeError when a CPU's memory is exhausted; for a GPU it raises an OutOfMemoryError."""
GOES_ON = "What was finished is kept; the same command goes on where it stopped"


def shortage(error: BaseException) -> str | None:
    """What the machine ran out of, if that is what the error says, and what to do."""
    if is_full_disk(error):
        place = getattr(error, "filename", None) or "the disk"
        return f"{place}: there is no room left on the disk. {GOES_ON}, once there is room"
    if is_out_of_memory(error):
        first_line = (str(error).splitlines() or [""])[0] or type(error).__name__
        return (
            f"there is not enough memory ({first_line}). {GOES_ON}; what takes less memory: smaller batches"
            " (trainer.micro_batch_size, decoding.batch_size, trainer.scoring_batch_size) or a smaller model"
        )
    return None


def is_full_disk(error: BaseException) -> bool:
    """Whether the error says that a disk, a quota or a file can take no more."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL_DISK
    return any(words in str(error) for words in FULL_DISK_WORDS)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that there is no memory left, on the CPU or on a GPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and OUT_OF_MEMORY_WORDS in str(error))
    )


def count_of(number: int, noun: str) -> str:
    """So many of something: 1 chain, 2 chains."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def spoken(seconds: float) -> str:
    """A duration in its one or two largest units: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    whole = round(seconds)
    for limit, large, small in ((86400, "d", "h"), (3600, "h", "min")):
        if whole >= limit:
            part = {"h": 3600, "min": 60}[small]
            count, rest = divmod(whole, limit)
            return f"{count} {large} {rest // part} {small}"
    return f"{whole // 60} min" if whole >= 120 else f"{whole} s"
