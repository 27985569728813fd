"""``python -m modelcollapse extensions``: what is installed or registered beside the package's own, and from where."""

import argparse
from collections.abc import Iterator, Sequence

from modelcollapse.config.extensions import folders_of_packages
from modelcollapse.registry import KINDS, Member, broken_extensions, extensions

NONE = "no extensions: neither installed packages nor a script register anything"


def main(arguments: Sequence[str] | None = None) -> int:
    """List the extensions; returns the exit code, 1 where one could not be loaded."""
    argparse.ArgumentParser(
        prog="python -m modelcollapse extensions", description="List what extensions register, and what does not load."
    ).parse_args(arguments)
    for line in list(_lines()) or [NONE]:
        print(line)
    return int(bool(broken_extensions()))


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
