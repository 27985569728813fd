"""The errors that a user can mend, and the wish to stop."""

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
    """Something that the user can mend: the message says what is wrong and what to do; no traceback is shown."""


class FitFailed(UserError):
    """A fit whose loss stopped being a number."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM: not an error, and nothing that a library may swallow."""

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
