"""One sweep, from its overrides to its report."""

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelcollapse.chain import chain_id
from modelcollapse.code_digests.house import hand_on_sources
from modelcollapse.command_line import program, sibling, typed_line
from modelcollapse.config.extensions import config_dir_arguments
from modelcollapse.console import print_messages, shown_path
from modelcollapse.errors import UserError, count_of, interruptible
from modelcollapse.output import verify_printed
from modelcollapse.record.claiming import claimed, overlap_problem
from modelcollapse.record.sweep_folder import PlannedChain, SweepFolder
from modelcollapse.registry import SCRIPT_VARIABLE
from modelcollapse.sweeps.points import Grid, Point, read_grid
from modelcollapse.sweeps.reporting import report_sweeps, show_report
from modelcollapse.sweeps.runner import check_launcher, jobs_of, launch, threads_of
from modelcollapse.sweeps.watching import watched

FAILED = 1
PATIENCE_SECONDS = 90.0
POLL_SECONDS = 0.2


def run_grid(overrides: Sequence[str]) -> int:
    """Run the grid that the overrides expand to, or print its plan; returns the exit code."""
    grid = read_grid(overrides)
    check_launcher(grid)
    refuse_overlaps(grid, Path(grid.sweep_folder))
    jobs = jobs_of(grid)
    if grid.plan:
        print_plans(grid, jobs)
        return 0
    with claimed(Path(grid.sweep_folder).absolute(), "sweep", by_time=grid.is_named_by_time) as place:
        return _run_in(SweepFolder(place), grid, jobs)


def refuse_overlaps(grid: Grid, folder: Path) -> None:
    """Raise UserError where a store and the folder of the sweep cannot be where they are."""
    for store in dict.fromkeys(point.settings.paths.store for point in grid.points):
        if problem := overlap_problem(folder, "sweep", Path(store)):
            raise UserError(problem)


def _run_in(folder: SweepFolder, grid: Grid, jobs: int) -> int:
    chains = [planned(point, threads_of(jobs)) for point in grid.points]
    permit = folder.begin(typed_line(), chains)
    hand_on_sources(folder.path)
    try:
        _run(grid, folder, chains, jobs, permit)
    finally:
        folder.end(permit)
    return _finished(grid, folder, chains)


def print_plans(grid: Grid, jobs: int) -> None:
    """Print what the grid would compute, and how long that would take."""
    # Imports the libraries of the families, which a sweep itself does not need.
    from modelcollapse.sweeps.planning import plans_of, print_plan_tree

    for plan in plans_of(grid.points):
        print_plan_tree(plan, jobs)
    verify_printed()


def planned(point: Point, threads: int | None) -> PlannedChain:
    """The chain of a point; ``threads`` are set where the point sets none."""
    own = () if threads is None or point.settings.trainer.threads is not None else (f"trainer.threads={threads}",)
    return PlannedChain(
        number=point.number,
        overrides=(*config_dir_arguments(), *point.overrides, *own),
        varied=point.varied,
        id=chain_id(point.settings),
        generations=point.settings.generations,
        devices=point.settings.trainer.devices,
    )


def _run(grid: Grid, folder: SweepFolder, chains: Sequence[PlannedChain], jobs: int, permit: str) -> None:
    with watched(folder, chains), interruptible(before=lambda: _stop(folder, chains, permit)):
        try:
            launch(grid, folder.path, jobs, permit)
        except Exception as error:
            # Whatever a launcher raises, the chains that ran are reported on.
            print(f"the launcher stopped: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _stop(folder: SweepFolder, chains: Sequence[PlannedChain], permit: str) -> None:
    """Stop the chains and wait until they have ended, but for those whose jobs run in this process."""
    folder.end(permit)
    os.write(2, b"\nstopping the chains, which keep what they have finished; once more stops at once\n")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and any(_runs_elsewhere(folder, chain.number) for chain in chains):
        time.sleep(POLL_SECONDS)


def _runs_elsewhere(folder: SweepFolder, number: int) -> bool:
    process = folder.process(number)
    return process is not None and process.state == "running" and process.runner != os.getpid()


def _finished(grid: Grid, folder: SweepFolder, chains: Sequence[PlannedChain]) -> int:
    """Write the report, then list what failed; returns the exit code."""
    failed = [chain for chain in chains if folder.state(chain.number) != "finished"]
    try:
        if any(folder.generations(chain.number) for chain in chains):
            _report(grid, folder, chains)
    finally:
        for line in _failures(folder, failed):
            print(line, file=sys.stderr, flush=True)
        finished = f"{len(chains) - len(failed)} of {count_of(len(chains), 'chain')} finished"
        print(f"{finished}  {shown_path(folder.path)}", flush=True)
    return FAILED if failed else 0


def _report(grid: Grid, folder: SweepFolder, chains: Sequence[PlannedChain]) -> None:
    target = folder.path / "report"
    files = report_sweeps([folder.path], target)
    settings = grid.points[0].settings
    if settings.tracking.kind != "none":
        print_messages()
        show_report(settings.tracking, settings.name, [chain.id for chain in chains], target, files)


def _failures(folder: SweepFolder, failed: Sequence[PlannedChain]) -> Iterator[str]:
    if failed:
        yield f"{count_of(len(failed), 'chain')} failed:"
    for chain in failed:
        process = folder.process(chain.number)
        error = "its job never began" if process is None else process.error or "its job ended without writing why"
        yield f"  {chain.number}  {chain.title}\n      {error}\n      {command_alone(chain)}"


def command_alone(chain: PlannedChain) -> str:
    """The command that runs one chain of a sweep alone."""
    script = os.environ.get(SCRIPT_VARIABLE)
    return shlex.join([*(["python", script] if script else sibling(program(), "train")), *chain.overrides])
