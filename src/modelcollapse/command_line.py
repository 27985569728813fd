"""The command that started this process, as it is typed: for messages and records that name it.

``modelcollapse train`` and ``python train.py`` are one program under two names; who starts it as the former says so by
:func:`started_as`.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from modelcollapse.credentials import without_secrets

PROGRAM = "modelcollapse"

_STARTED_AS: list[str] = []
_ARGUMENTS: list[list[str]] = []
_CALLS: list[str] = []


def installed_program() -> list[str]:
    """What is typed before the name of a sub-command: the installed script, or the package as a module."""
    return ["python", "-m", PROGRAM] if Path(sys.argv[0]).name == "__main__.py" else [PROGRAM]


@contextmanager
def started_as(*words: str) -> Iterator[None]:
    """Within the block, these words are the program, which the arguments follow."""
    before = [*_STARTED_AS]
    _STARTED_AS[:] = words
    try:
        yield
    finally:
        _STARTED_AS[:] = before


def program() -> list[str]:
    """The words before the arguments of this process: ``["modelcollapse", "train"]``, ``["python", "train.py"]``."""
    return list(_STARTED_AS) or ["python", sys.argv[0]]


@contextmanager
def arguments_kept() -> Iterator[None]:
    """Within the block, the arguments stay as they are now, whatever ``sys.argv`` is set to for a library."""
    _ARGUMENTS.append(sys.argv[1:])
    try:
        yield
    finally:
        _ARGUMENTS.pop()


def arguments() -> list[str]:
    """The arguments that were typed after the program."""
    return list(_ARGUMENTS[0]) if _ARGUMENTS else sys.argv[1:]


def typed() -> list[str]:
    """The whole command line, to be typed again."""
    return [*program(), *arguments()]


def typed_line() -> str:
    """The whole command line as text, without secrets; of work that was started from Python the call."""
    # Quoted, a secret would look like another text.
    return str(without_secrets(_CALLS[-1])) if _CALLS else shlex.join(without_secrets(typed()))


@contextmanager
def called_as(call: str) -> Iterator[None]:
    """Within the block, work was started by this call of a function, such as ``modelcollapse.run('seed=3')``."""
    _CALLS.append(call)
    try:
        yield
    finally:
        _CALLS.pop()


def sibling(command: Sequence[str], name: str) -> list[str]:
    """The program ``name``, train or sweep, beside the one that ``command`` begins with: train.py beside sweep.py."""
    first = Path(command[-1])
    return [*command[:-1], str(first.with_name(f"{name}{first.suffix}")) if first.suffix == ".py" else name]
