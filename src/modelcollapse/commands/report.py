"""Reports on runs and sweeps: ``modelcollapse report PATH...``."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from modelcollapse.command_line import program
from modelcollapse.commands.exit_codes import DONE, reported
from modelcollapse.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(
        prog=shlex.join(program()),
        description="Report on the runs at or below folders, finished or not: tables, figures, and a page for the"
        " browser. Several folders are compared, each under a name of its own.",
    )
    found.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="folder of a run, of a sweep, or above some")
    found.add_argument("--to", metavar="FOLDER", type=Path, help="where the report goes (default: report in the first)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    chosen = parser().parse_args(arguments)
    folders = [path.expanduser() for path in chosen.paths]
    return reported(lambda: _report(folders, (chosen.to or folders[0] / "report").expanduser()))


def _report(folders: Sequence[Path], target: Path) -> int:
    if absent := [str(folder) for folder in folders if not folder.is_dir()]:
        raise UserError(f"there is no folder {', '.join(absent)}")
    from modelcollapse.sweeps.reporting import report_sweeps

    files = report_sweeps(folders, target)
    if files.unfinished:
        print("unfinished:", *files.unfinished, sep="\n  ", flush=True)
    return DONE
