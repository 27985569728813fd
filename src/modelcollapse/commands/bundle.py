"""Puts runs into one archive that others can check: ``modelcollapse bundle RUN``."""

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from modelcollapse.command_line import program
from modelcollapse.commands.exit_codes import DONE, complain, reported
from modelcollapse.registry import use_script


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(
        prog=shlex.join(program()),
        description="Write one archive of a run, or of all runs of a sweep, that others can check: settings, record,"
        " versions, code digests, and the recipes of all artifacts. Data are not in it: their fingerprints are.",
        epilog="modelcollapse replay BUNDLE runs it again and says what agrees.",
    )
    found.add_argument("run", metavar="RUN", type=Path, help="folder of a run, or of a sweep")
    found.add_argument(
        "--output", metavar="FILE", type=Path, help="file to write (default: the folder's name and .zip)"
    )
    found.add_argument(
        "--artifacts", action="store_true", help="with the artifacts themselves: weights, synthetic sets"
    )
    found.add_argument(
        "--incomplete", action="store_true", help="of runs too that are not finished, and without what is damaged"
    )
    found.add_argument("--store", metavar="PATH", type=Path, help="the store (default: that of each run)")
    found.add_argument("--script", metavar="FILE", type=Path, help="script that registers what the runs use")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return reported(partial(_main, parser().parse_args(arguments)))


def _main(chosen: argparse.Namespace) -> int:
    if chosen.script is not None:
        use_script(chosen.script)
    from modelcollapse.console import byte_bar, shown_path
    from modelcollapse.sweeps.bundling import contents, summary, write_contents

    folder = chosen.run.expanduser()
    path = (chosen.output or Path(f"{folder.resolve().name}.zip")).expanduser()
    found = contents(folder, artifacts=chosen.artifacts, incomplete=chosen.incomplete, store=chosen.store)
    with byte_bar(f"writing {path.name}", found.bytes) as advance:
        write_contents(found, path, advance)
    for line in summary(found):
        complain(line)
    runs = "1 run" if len(found.runs) == 1 else f"{len(found.runs)} runs"
    print(f"{runs} in {shown_path(path)}, {path.stat().st_size / 1e6:.1f} MB")
    return DONE
