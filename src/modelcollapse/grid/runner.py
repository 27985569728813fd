"""What a launcher's job does: it runs one chain as a process of its own and waits for it.

A chain that is killed, for memory or otherwise, takes nothing else with it: the job sees how its process ended and
writes that down.
"""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from modelcollapse.grid.devices import gpus_of_its_own
from modelcollapse.grid.errors import error_of
from modelcollapse.grid.folder import ChainProcess, SweepFolder, now

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 60.0
"""How long a chain that was asked to end may take before it is killed."""
NEVER_BEGAN = 1
PERMIT_VARIABLE = "MODELCOLLAPSE_SWEEP_PERMIT"
"""Environment variable of a job that holds the permit of its sweep."""


def run_chain(config: DictConfig) -> int:
    """Run the chain that Hydra gave this job the number of; returns its exit code. Hydra sees no job fail."""
    job = HydraConfig.get()
    return run_planned(SweepFolder(Path(job.sweep.dir).absolute()), int(job.job.num), os.environ[PERMIT_VARIABLE])


def run_planned(sweep: SweepFolder, number: int, permit: str) -> int:
    """Run chain ``number`` of a sweep as long as the permit holds; returns its exit code."""
    if not sweep.may_run(permit):
        return NEVER_BEGAN
    sweep.chain(number).mkdir(parents=True, exist_ok=True)
    gpus = gpus_of_its_own(sweep.path / "devices", number, sweep.chains()[number].devices)
    with sweep.output(number).open("wb") as output, gpus as environment:
        child = subprocess.Popen(
            _command(sweep, number),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        _watch(child, sweep, number, permit)
    return child.returncode


def _watch(child: "subprocess.Popen[bytes]", sweep: SweepFolder, number: int, permit: str) -> None:
    """See the process to its end, and write down what becomes of it."""
    state = ChainProcess(host=os.uname().nodename, runner=os.getpid(), started=now(), process=child.pid)
    try:
        sweep.write_process(number, state)
        _wait(child, sweep, permit)
    finally:
        stopped = child.poll() is None
        _end(child)
        _write_end(sweep, number, replace(state, stopped=stopped), child.returncode)


def _command(sweep: SweepFolder, number: int) -> list[str]:
    words = sweep.chains()[number].words
    module = [sys.executable, "-u", "-m", "modelcollapse.grid.child", str(os.getpid())]
    return [*module, *words, f"hydra.run.dir={quoted(sweep.chain(number))}"]


def quoted(path: Path) -> str:
    """The path as a value of Hydra's grammar, whatever characters it holds."""
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _wait(child: "subprocess.Popen[bytes]", sweep: SweepFolder, permit: str) -> None:
    """Wait until the chain has ended, or the permit. A job whose starter is gone takes the permit from all."""
    starter = os.getppid()
    while sweep.may_run(permit):
        with suppress(subprocess.TimeoutExpired):
            child.wait(POLL_SECONDS)
            return
        if os.getppid() != starter:
            sweep.end(permit)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ask the process to end, which keeps what it has finished; kill it if it does not."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _write_end(sweep: SweepFolder, number: int, state: ChainProcess, exit_code: int) -> None:
    error = None if exit_code == 0 else error_of(exit_code, sweep.output(number))
    sweep.write_process(number, replace(state, ended=now(), exit_code=exit_code, error=error))
