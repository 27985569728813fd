"""Why a chain failed, in one line: from its exit code and what its process said last."""

import signal
from pathlib import Path

TRACEBACK = "Traceback (most recent call last):"
TAIL_BYTES = 64_000


def error_of(exit_code: int, output: Path) -> str:
    """The error of a process that ended with ``exit_code`` and wrote ``output``."""
    if killer := _signal(exit_code):
        return f"killed by {killer}" + (", probably for memory" if killer == "SIGKILL" else "")
    lines = _tail(output)
    return _user_error(lines) or _exception(lines) or _last_line(lines) or f"ended with exit code {exit_code}"


def _signal(exit_code: int) -> str | None:
    """The signal that ended the process; a shell or a container adds 128 to its number."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def _tail(output: Path) -> list[str]:
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()


def _user_error(lines: list[str]) -> str | None:
    """The message that the command line says of what a user can mend, its lines joined."""
    starts = [position for position, line in enumerate(lines) if line.startswith("error: ")]
    return " ".join(" ".join(lines[starts[-1] :]).split()).removeprefix("error: ") if starts else None


def _exception(lines: list[str]) -> str | None:
    """The line of the last traceback that names the exception."""
    starts = [position for position, line in enumerate(lines) if line.startswith(TRACEBACK)]
    if not starts:
        return None
    return next((line for line in lines[starts[-1] + 1 :] if line and not line[0].isspace()), None)


def _last_line(lines: list[str]) -> str | None:
    return next((line.strip() for line in reversed(lines) if line.strip()), None)
