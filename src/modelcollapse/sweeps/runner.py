"""The job of a launcher: it runs one chain as a process of its own, forked from a server, and waits for it.

A chain that is killed, for memory or otherwise, ends nothing else: the job writes how its process ended.
"""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from modelcollapse.code_digests.house import SNAPSHOT_VARIABLE, SOURCES_FILE
from modelcollapse.config.composing import HYDRA_VERSION_BASE
from modelcollapse.config.explaining import PLUGINS
from modelcollapse.config.extensions import prepared_configuration
from modelcollapse.errors import UserError
from modelcollapse.record import read_error
from modelcollapse.record.claiming import free_of_elsewhere
from modelcollapse.record.sweep_folder import ChainProcess, SweepFolder, now
from modelcollapse.registry import SCRIPT_VARIABLE, safe_imports
from modelcollapse.store.claims import process_began
from modelcollapse.sweeps.forking import ChainFork, Order, fork_chain
from modelcollapse.sweeps.helpers import job_of
from modelcollapse.sweeps.points import Grid
from modelcollapse.sweeps.resources import gpus_of_its_own, jobs_at_once, usable_cores

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 60.0
"""How long a chain that was asked to end may take before it is killed."""
NOT_BEGUN = 1
NOTHING: Mapping[str, str] = MappingProxyType({})


def run_planned(sweep: SweepFolder, number: int, permit: str, environment: Mapping[str, str] = NOTHING) -> int:
    """Run chain ``number`` of a sweep as long as the permit holds; returns its exit code."""
    if not sweep.may_run(permit):
        return NOT_BEGUN
    sweep.chain(number).mkdir(parents=True, exist_ok=True)
    free_of_elsewhere(sweep.chain(number))
    gpus = gpus_of_its_own(sweep.path / "devices", number, sweep.chains()[number].devices)
    # Of this run alone: a chain that is run again begins its output anew.
    sweep.output(number).write_bytes(b"")
    with gpus as devices:
        variables = {**os.environ, **environment, SNAPSHOT_VARIABLE: str(sweep.path / SOURCES_FILE), **devices}
        chain = fork_chain(Order(_overrides(sweep, number), variables, sweep.output(number)))
        _watch(chain, sweep, number, permit)
    assert chain.returncode is not None
    return chain.returncode


def _watch(chain: ChainFork, sweep: SweepFolder, number: int, permit: str) -> None:
    """Wait for the end of the process, and write its state when it begins and ends."""
    host, began = os.uname().nodename, process_began(chain.pid)
    state = ChainProcess(host=host, runner=os.getpid(), started=now(), process=chain.pid, began=began)
    try:
        sweep.write_process(number, state)
        _wait(chain, sweep, permit)
    finally:
        stopped = chain.wait(0) is None
        exit_code = _ended(chain)
        _write_end(sweep, number, replace(state, stopped=stopped), exit_code)


def _overrides(sweep: SweepFolder, number: int) -> tuple[str, ...]:
    return (*sweep.chains()[number].overrides, f"hydra.run.dir={quoted(sweep.chain(number))}")


def quoted(path: Path) -> str:
    """The path as a value of Hydra's grammar, whatever characters it holds."""
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _wait(chain: ChainFork, sweep: SweepFolder, permit: str) -> None:
    """Wait until the chain has ended, or the permit. A job whose starter is gone takes the permit from all."""
    starter = os.getppid()
    while sweep.may_run(permit) and chain.wait(POLL_SECONDS) is None:
        if os.getppid() != starter:
            sweep.end(permit)


def _ended(chain: ChainFork) -> int:
    """End the chain, which keeps what it has finished; kill it if it does not end. Returns its exit code."""
    chain.signal(signal.SIGTERM)
    exit_code = chain.wait(PATIENCE_SECONDS)
    if exit_code is None:
        chain.signal(signal.SIGKILL)
        exit_code = chain.wait()
    assert exit_code is not None
    return exit_code


def _write_end(sweep: SweepFolder, number: int, state: ChainProcess, exit_code: int) -> None:
    error = None if exit_code == 0 else error_line(sweep, number, exit_code)
    sweep.write_process(number, replace(state, ended=now(), exit_code=exit_code, error=error))


JOBLIB = "hydra_plugins.hydra_joblib_launcher"
JOBS_SETTING = "hydra.launcher.n_jobs"


def check_launcher(grid: Grid) -> None:
    """Raise UserError where the launcher is not installed."""
    package = ".".join(_launcher(grid).split(".")[:2])
    if find_spec(package.split(".")[0]) is None or find_spec(package) is None:
        raise UserError(f"hydra/launcher: {package} is not installed; {PLUGINS['hydra/launcher'][1]}")


def _launcher(grid: Grid) -> str:
    return str(grid.hydra["launcher"]["_target_"])


def jobs_of(grid: Grid) -> int:
    """How many chains run at once on this machine where joblib runs them; with other launchers 1."""
    if not _launcher(grid).startswith(JOBLIB):
        return 1
    named = [override.partition("=")[2] for override in grid.hydra_overrides if override.startswith(f"{JOBS_SETTING}=")]
    return int(named[-1]) if named else jobs_at_once([point.settings for point in grid.points])


def threads_of(jobs: int) -> int | None:
    """Threads of each of several chains that run at once; None leaves a chain that runs alone all of them."""
    return max(1, usable_cores() // jobs) if jobs > 1 else None


def launch(grid: Grid, folder: Path, jobs: int, permit: str) -> None:
    """Run all points of the grid through Hydra's launcher; the jobs write their state into ``folder``."""
    overrides = [
        *grid.overrides,
        *grid.hydra_overrides,
        "hydra.sweeper.params=null",
        f"hydra.sweep.dir={quoted(folder)}",
    ]
    if _launcher(grid).startswith(JOBLIB):
        # A helper without a job would outlive a command that is killed.
        overrides.append(f"{JOBS_SETTING}={min(jobs, len(grid.points)) if jobs > 0 else jobs}")
    environment = {name: os.environ[name] for name in (SCRIPT_VARIABLE,) if name in os.environ}
    command = os.getpid()

    def run_chain(config: DictConfig) -> int:
        # Hydra gives the job its number; it sees no job fail.
        number = int(HydraConfig.get().job.num)
        with job_of(command, to_its_end=True):
            return run_planned(SweepFolder(folder), number, permit, environment)

    typed, sys.argv = sys.argv, [sys.argv[0], *overrides, "--multirun"]
    try:
        conf = prepared_configuration()
        with safe_imports():
            hydra.main(version_base=HYDRA_VERSION_BASE, config_path=conf, config_name="sweep")(run_chain)()
    finally:
        sys.argv = typed


TAIL_BYTES = 64_000


def error_line(sweep: SweepFolder, number: int, exit_code: int) -> str:
    """The error of a chain whose process ended with ``exit_code``, in one line.

    A signal that killed the process is known from the exit code, all other errors from the chain's ``error.json``. A
    process that ended before its run began has none: the last line of its output is shown as it is.
    """
    if killer := _signal(exit_code):
        return f"killed by {killer}" + (", probably for memory" if killer == "SIGKILL" else "")
    error = read_error(sweep.chain(number))
    return error.line if error else _last_line(sweep.output(number)) or f"ended with exit code {exit_code}"


def _signal(exit_code: int) -> str | None:
    """The signal that ended the process; a shell or a container adds 128 to its number."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def _last_line(output: Path) -> str | None:
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), None)
