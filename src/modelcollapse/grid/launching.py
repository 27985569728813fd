"""Hands the points of a grid to Hydra's multirun, whose launcher starts a job for each."""

import sys
from importlib.util import find_spec
from pathlib import Path

import hydra

from modelcollapse.composition import HYDRA_VERSION_BASE, LAUNCHERS_ADVICE, configuration_folder
from modelcollapse.errors import UserError
from modelcollapse.grid.points import Grid
from modelcollapse.grid.resources import jobs_at_once, usable_cores
from modelcollapse.grid.runner import PERMIT_VARIABLE, quoted, run_chain

JOBLIB = "hydra_plugins.hydra_joblib_launcher"
JOBS_SETTING = "hydra.launcher.n_jobs"


def check_launcher(grid: Grid) -> None:
    """Raise UserError where the launcher is not installed."""
    package = ".".join(_launcher(grid).split(".")[:2])
    if find_spec(package.split(".")[0]) is None or find_spec(package) is None:
        raise UserError(f"hydra/launcher: {package} is not installed; {LAUNCHERS_ADVICE}")


def _launcher(grid: Grid) -> str:
    return str(grid.hydra["launcher"]["_target_"])


def jobs_of(grid: Grid) -> int:
    """How many chains run at once on this machine, where this is ours to say; else 1."""
    if not _launcher(grid).startswith(JOBLIB):
        return 1
    named = [word.partition("=")[2] for word in grid.hydra_words if word.startswith(f"{JOBS_SETTING}=")]
    return int(named[-1]) if named else jobs_at_once([point.settings for point in grid.points])


def threads_of(jobs: int) -> int | None:
    """Threads of each of several chains that run at once; None leaves a chain that runs alone all of them."""
    return max(1, usable_cores() // jobs) if jobs > 1 else None


def launch(grid: Grid, folder: Path, jobs: int, permit: str) -> None:
    """Run all points of the grid through Hydra's launcher; the jobs write what becomes of them into ``folder``."""
    place = (f"hydra.sweep.dir={quoted(folder)}", f"+hydra.job.env_set.{PERMIT_VARIABLE}={permit}")
    words = [*grid.words, *grid.hydra_words, "hydra.sweeper.params=null", *place]
    if _launcher(grid).startswith(JOBLIB):
        words.append(f"{JOBS_SETTING}={jobs}")
    typed, sys.argv = sys.argv, [sys.argv[0], *words, "--multirun"]
    try:
        conf = str(configuration_folder())
        hydra.main(version_base=HYDRA_VERSION_BASE, config_path=conf, config_name="sweep")(run_chain)()
    finally:
        sys.argv = typed
