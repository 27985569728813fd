"""The commands of ``python -m modelcollapse``."""

import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "extensions": ("modelcollapse.commands.extensions", "what is installed or registered beside the package's own"),
    "store": ("modelcollapse.commands.store", "look at a store and clean it"),
    "export": ("modelcollapse.commands.export", "take a model out of a run"),
}
"""Command -> module whose ``main`` takes its arguments, and what it does."""
USAGE_ERROR = 2


def run(arguments: Sequence[str]) -> int:
    """Run the command that the first argument names; returns the exit code."""
    name, *rest = arguments or ["--help"]
    if name in COMMANDS:
        code: int = import_module(COMMANDS[name][0]).main(rest)
        return code
    lines = [f"  {command:12}{meaning}" for command, (_, meaning) in COMMANDS.items()]
    usage = "\n".join(["usage: python -m modelcollapse COMMAND ...", "", *lines])
    if name in ("--help", "-h"):
        print(usage)
        return 0
    print(f"error: {name}: there is no such command\n{usage}", file=sys.stderr)
    return USAGE_ERROR
