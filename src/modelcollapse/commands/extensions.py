"""``modelcollapse extensions``: what is installed or registered beside the package's own, and from where."""

import argparse
import shlex
from collections.abc import Iterator, Sequence

from modelcollapse.command_line import program
from modelcollapse.commands.exit_codes import DONE, FOUND, reported
from modelcollapse.config.extensions import folders_of_packages
from modelcollapse.registry import KINDS, Member, broken_extensions, extensions

NONE = "no extensions: neither installed packages nor a script register anything"


def main(arguments: Sequence[str] | None = None) -> int:
    """List the extensions; returns the exit code, 1 where one could not be loaded."""
    parser().parse_args(arguments)
    return reported(_list)


def parser() -> argparse.ArgumentParser:
    """The arguments, of which there are none."""
    return argparse.ArgumentParser(
        prog=shlex.join(program()),
        description="List what installed packages register beside this package's own, and what does not load.",
    )


def _list() -> int:
    for line in list(_lines()) or [NONE]:
        print(line)
    return FOUND if broken_extensions() else DONE


def _lines() -> Iterator[str]:
    members = extensions()
    by_origin: dict[str, list[Member]] = {}
    for member in members:
        by_origin.setdefault(member.origin, []).append(member)
    folders = dict(folders_of_packages())
    for origin in sorted({*by_origin, *folders}):
        yield origin
        for member in by_origin.get(origin, []):
            yield f"  {KINDS[member.kind]:24}{member.name}  version {member.version}"
        if origin in folders:
            yield f"  {'configuration':24}{folders[origin]}"
    for one in broken_extensions():
        yield f"not loaded: {one.describe()}"
