"""The command ``modelcollapse`` and its sub-commands; each is imported when it is asked for."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from modelcollapse.command_line import PROGRAM, installed_program, started_as
from modelcollapse.output import lost_output, surviving_output
from modelcollapse.settings import nearest

COMMANDS = {
    "train": ("modelcollapse.commands.run:train", "run one chain of generations; train.py under another name"),
    "sweep": ("modelcollapse.commands.run:sweep", "run a grid of chains and report on it; sweep.py likewise"),
    "report": ("modelcollapse.commands.report:main", "report on runs and sweeps, finished or not"),
    "measure": ("modelcollapse.commands.measure:main", "add metrics to finished runs; nothing is fitted again"),
    "compare": ("modelcollapse.commands.compare:main", "in what two runs differ, and since which generation"),
    "export": ("modelcollapse.commands.export:main", "write the model or the synthetic set of a generation"),
    "bundle": ("modelcollapse.commands.bundle:main", "put runs into one archive that others can check"),
    "replay": ("modelcollapse.commands.replay:main", "run a bundle again, and say what agrees with its record"),
    "store": ("modelcollapse.commands.store:main", "look at a store and clean it"),
    "schema": ("modelcollapse.commands.schema:main", "write JSON schemas of the configuration files, for editors"),
    "extensions": ("modelcollapse.commands.extensions:main", "list what is installed beside the package's own"),
}
"""Sub-command -> ``module:function``, and what it does."""
OF_HYDRA = ("train", "sweep")
"""Those that read their arguments from ``sys.argv``."""
COMPLETION = ("--shell-completion", "-sc")
USAGE_ERROR = 2


def main() -> None:
    """The installed script ``modelcollapse``."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the sub-command that the first argument names; returns the exit code."""
    with surviving_output():
        return _answered(arguments)


def _answered(arguments: Sequence[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in COMMANDS and "--version" not in rest:
        return _run(name, rest)
    if name in COMPLETION:
        return _complete(rest)
    if name in ("--help", "-h"):
        print(usage())
    elif name == "--version" or name in COMMANDS:
        print(f"{PROGRAM} {_version()}")
    else:
        there = f"there are: {', '.join(COMMANDS)}"
        print(f"error: {name}: there is no such command{nearest(name, COMMANDS)}; {there}", file=sys.stderr)
        return USAGE_ERROR
    lost = lost_output()
    if lost:
        print(f"error: {lost}", file=sys.stderr)
    return 1 if lost else 0


def usage() -> str:
    """What ``--help`` prints."""
    program = " ".join(installed_program())
    lines = [f"  {command:12}{meaning}" for command, (_, meaning) in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {program} COMMAND ...",
            "",
            "The laboratory for model collapse.",
            "",
            *lines,
            "",
            f"{program} COMMAND --help says more; --version prints the version.",
        ]
    )


def _run(name: str, rest: Sequence[str]) -> int:
    module, _, function = COMMANDS[name][0].partition(":")
    command: Callable[..., int | None] = getattr(import_module(module), function)
    with started_as(*installed_program(), name):
        typed, sys.argv = sys.argv, [sys.argv[0], *rest]
        try:
            return (command() if name in OF_HYDRA else command(rest)) or 0
        finally:
            sys.argv = typed


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(PROGRAM)
    except PackageNotFoundError:
        return "not installed"


# ---- tab completion --------------------------------------------------------------------------------------------------


def _complete(rest: Sequence[str]) -> int:
    """Hydra's completion: its script for the shell, and what can follow a command line that begins with train or sweep.

    The shell asks ``modelcollapse -sc query=bash`` with the line in COMP_LINE.
    """
    if not any(word.startswith("query=") for word in rest):
        return _run("train", [COMPLETION[0], *rest])
    program, *words = os.environ.get("COMP_LINE", PROGRAM).split(" ")
    name, *arguments = words or [""]
    if not arguments:
        print(" ".join(command for command in COMMANDS if command.startswith(name)))
    elif name in OF_HYDRA:
        os.environ["COMP_LINE"] = " ".join([program, *arguments])
        return _run(name, [COMPLETION[0], *rest])
    return 0
