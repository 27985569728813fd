"""Adds metrics to finished runs: ``modelcollapse measure RUN metrics.add=[NAME,...]``."""

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from modelcollapse.command_line import program
from modelcollapse.commands.exit_codes import DONE, complain, reported
from modelcollapse.errors import UserError
from modelcollapse.registry import use_script


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(
        prog=shlex.join(program()),
        description="Compute metrics of finished runs from what the store holds, and bring records, figures and"
        " reports up to date. Nothing is fitted or generated again.",
    )
    found.add_argument("run", metavar="RUN", type=Path, help="folder of a run, or of a sweep: all its finished runs")
    found.add_argument(
        "overrides",
        metavar="OVERRIDE",
        nargs="*",
        help="metrics.add=[NAME,...], metrics.remove=[NAME,...], metrics.set=full, trainer.threads=N, ...; without any,"
        " what the records lack under the present versions of their metrics",
    )
    found.add_argument("--refit", action="store_true", help="fit models again that a metric needs and the store lacks")
    found.add_argument("--script", metavar="FILE", type=Path, help="script that registers metrics or a family")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return reported(partial(_main, parser().parse_args(arguments)))


def _main(chosen: argparse.Namespace) -> int:
    if chosen.script is not None:
        use_script(chosen.script)
    from modelcollapse.console import Announcements, shown_path
    from modelcollapse.sweeps.measuring import measure_runs, runs_at

    folder = chosen.run.expanduser()
    found = runs_at(folder)
    runs = [run for run in found if run.is_finished]
    for run in (run for run in found if not run.is_finished):
        complain(f"passed over, not finished: {run.path}")
    if not runs:
        raise UserError(f"{folder}: no run is finished; the command of a run finishes it, with other metrics too")
    for measured in measure_runs(runs, chosen.overrides, Announcements(), refit=chosen.refit):
        added = f"new: {', '.join(measured.metrics)}" if measured.metrics else "no new metrics"
        print(f"measured {shown_path(measured.folder)}  {added}", flush=True)
    if (report := folder / "report").is_dir():
        from modelcollapse.sweeps.reporting import report_sweeps

        report_sweeps([folder], report)
    return DONE
