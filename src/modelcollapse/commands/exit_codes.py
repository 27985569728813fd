"""Exit codes, and errors as one message: what all sub-commands have in common."""

import sys
from collections.abc import Callable

from modelcollapse.credentials import without_secrets
from modelcollapse.errors import Interrupted, UserError, interruptible, shortage
from modelcollapse.output import lost_output, surviving_output
from modelcollapse.store import Damaged
from modelcollapse.surroundings import own_process

DONE, FOUND, USER_ERROR = 0, 1, 2
"""0: done. 1: done, and something was found, such as damage, or not all could be printed; of a sweep, a chain failed.
2: the command cannot be carried out as it was typed, and nothing was written. A signal ends it with 128 and its number:
Ctrl-C with 130."""


def reported(command: Callable[[], int]) -> int:
    """Run a command, and print what a user can mend as one message; returns the exit code."""
    with own_process(), surviving_output():
        return _reported(command)


def _reported(command: Callable[[], int]) -> int:
    try:
        with interruptible():
            code = command()
        if lost := lost_output():
            complain(f"error: {lost}")
        return max(code, FOUND) if lost else code
    except Interrupted as interruption:
        complain(f"\nstopped by {interruption}")
        return interruption.exit_code
    except (UserError, Damaged) as error:
        complain(f"error: {error}")
    except OSError as error:
        message = shortage(error) or (f"{error.filename}: {error.strerror}" if error.filename is not None else None)
        if message is None:
            raise
        complain(f"error: {message}")
    return USER_ERROR


def complain(message: str) -> None:
    """Print a line to the standard error stream, without secrets."""
    print(without_secrets(message), file=sys.stderr, flush=True)
