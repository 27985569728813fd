"""The error of a chain that failed, in one line, from the files that real processes leave."""

import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from modelcollapse.record import read_error, read_progress
from modelcollapse.record.sweep_folder import PlannedChain, SweepFolder
from modelcollapse.registry import SCRIPT_VARIABLE
from modelcollapse.sweeps.runner import error_line, run_planned
from modelcollapse.sweeps.watching import seen

SMALL = (
    *("model=discrete", "data=categorical_samples", "decoding=none", "tracking=none"),
    *("data.rows=20", "model.replicates=3", "generations=2", "trainer.threads=1", "trainer.accelerator=cpu"),
)
PATIENCE = 550
SCRIPT = """import modelcollapse as mc


@mc.metric("impossible", of="replicates", version=1)
def impossible(states):
    raise ArithmeticError("no number\\nat all")


@mc.regime("unwilling", version=1)
class Unwilling:
    def compose(self, generation: int) -> list[mc.Draw]:
        if generation == 2:
            raise LookupError("no draws\\nat all")
        return [mc.Draw.real()]
"""


@pytest.fixture
def folder(tmp_path):
    """Begin a sweep of one chain; its folder and permit."""

    def begin(*overrides):
        sweep = SweepFolder(tmp_path / "sweep")
        chain = PlannedChain(0, (*SMALL, f"paths.store={tmp_path / 'store'}", *overrides), (), "id", generations=2)
        return sweep, sweep.begin("python sweep.py", [chain])

    return begin


def test_a_users_error_is_its_message(folder, tmp_path):
    (tmp_path / "a-file").write_text("no folder")
    sweep, permit = folder(f"paths.store={tmp_path / 'a-file' / 'store'}")
    assert run_planned(sweep, 0, permit) == 2
    error = read_error(sweep.chain(0))
    assert (error.kind, error.type, error.traceback) == ("user", "FileExistsError", None)
    assert sweep.process(0).error == error.line == error.message
    assert "a-file" in error.message


def test_an_exception_in_a_metric_has_its_generation_and_traceback(folder, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(SCRIPT)
    monkeypatch.setenv(SCRIPT_VARIABLE, str(tmp_path / "own.py"))
    sweep, permit = folder("metrics.add=[impossible]")
    assert run_planned(sweep, 0, permit) == 2
    error = read_error(sweep.chain(0))
    assert (error.kind, error.type, error.generation) == ("user", "ArithmeticError", 0)
    assert sweep.process(0).error == error.line
    assert "metric 'impossible' failed" in error.line
    assert error.line.endswith("(ArithmeticError: no number)")
    assert "in impossible" not in error.line
    assert "own.py" in error.traceback
    assert "in impossible" in error.traceback
    assert not (sweep.chain(0) / "progress.json").exists()


def test_an_exception_in_a_registered_regime_is_an_exception_with_its_traceback(folder, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(SCRIPT)
    monkeypatch.setenv(SCRIPT_VARIABLE, str(tmp_path / "own.py"))
    sweep, permit = folder("regime=unwilling")
    assert run_planned(sweep, 0, permit) == 1
    error = read_error(sweep.chain(0))
    assert (error.kind, error.type, error.message) == ("exception", "LookupError", "no draws")
    assert sweep.process(0).error == "LookupError: no draws"
    assert "in compose" in error.traceback


def test_a_chain_that_is_killed_is_known_by_its_exit_code_and_one_that_is_stopped_is_interrupted(folder):
    sweep, permit = folder("model.replicates=20000", "generations=2000", "model.segment_length=2000")
    (chain,) = sweep.chains()
    ends = {signal.SIGKILL: "killed by SIGKILL, probably for memory", signal.SIGTERM: "killed by SIGTERM"}
    for number, line in ends.items():
        job = threading.Thread(target=run_planned, args=(sweep, 0, permit))
        job.start()
        progress = _awaited_progress(sweep, job)
        stage = seen(sweep, chain).stage
        assert (stage.label, stage.total, stage.generation) == (progress.label, progress.total, progress.generation)
        os.kill(sweep.process(0).process, number)
        job.join(PATIENCE)
        assert sweep.process(0).error == line
        assert seen(sweep, chain).stage is None
        error = read_error(sweep.chain(0))
        assert (error and (error.kind, error.message)) == (
            None if number == signal.SIGKILL else ("interrupted", "SIGTERM")
        )
        # The second run of the folder begins without what the first one left.
        sweep.end(permit)
        permit = sweep.begin("python sweep.py", [chain])


def _awaited_progress(sweep, job):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and job.is_alive():
        process = None
        with suppress(FileNotFoundError):
            process = sweep.process(0)
        progress = read_progress(sweep.chain(0))
        if process is not None and process.state == "running" and progress is not None:
            return progress
        time.sleep(0.02)
    raise AssertionError(sweep.output(0).read_text())


@pytest.mark.parametrize(
    ("output", "line"),
    [("begun\nout of luck\n\n", "out of luck"), ("", "ended with exit code 3")],
    ids=["text", "none"],
)
def test_without_an_error_file_the_last_line_of_the_output_is_shown(folder, output, line):
    sweep, _ = folder()
    sweep.chain(0).mkdir()
    sweep.output(0).write_text(output)
    assert error_line(sweep, 0, 3) == line


@pytest.mark.parametrize("exit_code", [-signal.SIGSEGV, 128 + signal.SIGSEGV])
def test_a_signal_is_named_whoever_started_the_process(folder, exit_code):
    sweep, _ = folder()
    assert error_line(sweep, 0, exit_code) == "killed by SIGSEGV"
