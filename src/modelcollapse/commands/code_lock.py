"""The lock of a package's code: ``python -m modelcollapse.commands.code_lock``.

Without options it lists what is not locked. ``--lock`` locks new names and raised versions; ``--equal NAME`` also code
that was shown to give equal numbers: its golden value in the tests stands. ``--package NAME`` takes the lock of an
installed extension, which stands beside its ``__init__.py``.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

from modelcollapse.code_digests.house import LOCK_NAME, PACKAGE, Code, code_digest, foreign_object, package_folder
from modelcollapse.code_digests.lock import Lock, LockError
from modelcollapse.families.stage import declared_stages
from modelcollapse.registry import KINDS, registry

WITHOUT_NUMBERS = ("families", "regimes", "loggers")
"""Kinds whose members decide no number by themselves: families have stages; regimes are named by the
compositions that they give; loggers only look."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what is not locked, or lock it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m modelcollapse.commands.code_lock", description="The lock of code.")
    parser.add_argument("--lock", action="store_true", help="lock new names and raised versions")
    parser.add_argument("--equal", action="append", default=[], metavar="NAME", help="shown to give equal numbers")
    parser.add_argument("--removed", action="append", default=[], metavar="NAME", help="no longer there")
    parser.add_argument(
        "--package", default=PACKAGE, metavar="NAME", help="an installed extension; this package if not given"
    )
    options = parser.parse_args(arguments)
    folder = package_folder(options.package)
    if folder is None:
        print(f"--package {options.package}: there is no such package", file=sys.stderr)
        return 1
    place = folder / LOCK_NAME
    lock, current = Lock.read(place) if place.is_file() else Lock.empty(), current_code(options.package)
    if not (options.lock or options.equal or options.removed):
        problems = lock.problems(current)
        print("\n".join(problems) or f"all {len(current)} stages and members are locked")
        return int(bool(problems))
    try:
        lock.updated(current, options.equal, options.removed).write(place)
    except LockError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


Implemented = tuple[int, tuple[Code, ...], tuple[str, ...]]
"""A version, what it is implemented in, and functions of that which are never run."""


def locked_code(package: str = PACKAGE) -> dict[str, Implemented]:
    """Name -> what is locked of every stage and member of a package."""
    found: dict[str, Implemented] = {
        stage.lock_name: (stage.version, stage.code, stage.without) for stage in declared_stages(package)
    }
    for kind in (kind for kind in KINDS if kind not in WITHOUT_NUMBERS):
        for member in registry(kind).members():
            if member.package == package:
                found[f"{kind}/{member.name}"] = (member.version, (member.implementation,), ())
    return found


def current_code(package: str = PACKAGE) -> Mapping[str, tuple[int, str]]:
    """Name -> version and digest of every stage and member of a package."""
    return {
        name: (version, code_digest(tuple(map(foreign_object, code)), without))
        for name, (version, code, without) in locked_code(package).items()
    }


if __name__ == "__main__":
    sys.exit(main())
