"""Sweeps of real processes: what is shared, what goes on, and what happens to those that are killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import DETERMINISTIC
from modelcollapse.commands.report import main
from modelcollapse.record import read_lines
from modelcollapse.record.sweep_folder import SweepFolder
from modelcollapse.store.claims import read_claim

CHEAP = (
    "experiment=paper_gaussian",
    "tracking=none",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "generations=3",
    "data.rows=20",
    "model.replicates=4",
    "model.segment_length=2",
)
"""A chain of a second."""
LONG = ("generations=100000", "model.segment_length=100000", "model.replicates=1000")
"""A chain that goes on until it is stopped."""
PATIENCE = 550


class Sweep:
    """A sweep.py that was typed, in a process of its own."""

    def __init__(self, repository, place, words, name="sweep"):
        self.folder = SweepFolder(place / name)
        places = [f"paths.store={place / 'store'}", f"hydra.sweep.dir={self.folder.path}"]
        environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
        self.process = subprocess.Popen(
            [sys.executable, str(repository / "sweep.py"), *places, *words],
            cwd=place,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self):
        self.out, self.err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def states(self):
        return [self.folder.state(chain.number) for chain in self.folder.chains()]

    def await_running(self, count):
        """The processes of the chains, once ``count`` of them run."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()
            if (self.folder.path / "grid.json").exists() and self.states().count("running") >= count:
                numbers = [number for number, state in enumerate(self.states()) if state == "running"]
                return {number: self.folder.process(number).process for number in numbers}
            time.sleep(0.05)
        raise AssertionError("the chains did not begin")


@pytest.fixture
def sweep(repository, tmp_path):
    started = []

    def run(*words, name="sweep", wait=True):
        started.append(Sweep(repository, tmp_path, words, name))
        if wait:
            started[-1].ended()
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def gone(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def await_gone(processes):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if all(gone(process) for process in processes):
            return
        time.sleep(0.1)
    raise AssertionError("a chain outlived its sweep")


def computed(folder, numbers):
    """The key of every artifact that was computed, over some chains of a sweep, as often as it was."""
    lines = [line for number in numbers for line in read_lines(folder.chain(number) / "timings.jsonl")]
    return [line["key"] for line in lines if line["computed"]]


def recorded(folder, number):
    """What a chain's record holds, file by file, but for times."""
    return {name: (folder.chain(number) / name).read_bytes() for name in DETERMINISTIC[:5]}


JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def test_two_jobs_that_need_one_artifact_compute_it_once(sweep, tmp_path):
    one = sweep(*CHEAP, *JOBLIB, "seed=0", "regime=replace,accumulate")
    assert one.process.returncode == 0, one.err
    assert one.states() == ["finished", "finished"]
    assert [chain.title for chain in one.folder.chains()] == ["regime=replace", "regime=accumulate"]
    made = computed(one.folder, (0, 1))
    stored = [path.name for kind in ("model", "measures") for path in (tmp_path / "store" / kind).iterdir()]
    assert sorted(made) == sorted(stored)
    assert len(list((tmp_path / "store" / "model").iterdir())) == 1 + 2 * 2
    assert "2 of 2 chains finished" in one.out
    assert (one.folder.path / "report" / "report.html").is_file()


def test_a_chain_that_is_killed_and_one_that_fails_leave_the_others_to_finish(sweep, tmp_path):
    stores = f"paths.store=/dev/null/store,{tmp_path / 'one'},{tmp_path / 'two'}"
    running = sweep(*CHEAP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=3", "seed=0", stores, wait=False)
    os.kill(running.await_running(3)[1], signal.SIGKILL)
    assert running.ended() == 1
    assert running.states() == ["failed", "failed", "finished"]
    listed = running.err[running.err.index("2 chains failed:") :]
    assert "killed by SIGKILL, probably for memory" in listed
    assert "/dev/null" in listed
    commands = [line.strip() for line in listed.splitlines() if "train.py" in line]
    assert ["paths.store=/dev/null/store" in command for command in commands] == [True, False]
    assert "1 of 3 chains finished" in running.out
    assert (running.folder.path / "report" / "report.html").is_file()


@pytest.mark.parametrize("launcher", [(), JOBLIB], ids=["basic", "joblib"])
def test_ctrl_c_ends_the_chains_and_says_how_to_go_on(sweep, launcher):
    running = sweep(*CHEAP, *LONG, *launcher, "seed=0,1,2", wait=False)
    processes = running.await_running(2 if launcher else 1)
    running.process.send_signal(signal.SIGINT)
    assert running.ended() == 130
    await_gone(processes.values())
    assert "the same command goes on where it stopped" in running.err
    assert "sweep.py" in running.err
    assert "Traceback" not in running.err
    assert {*running.states()} == {"stopped", "waiting"}


def semaphores_of(process):
    """The files in shared memory of joblib in a process."""
    return list(Path("/dev/shm").glob(f"*loky-{process}-*"))


def test_chains_and_helpers_end_when_sweep_py_is_killed(sweep):
    running = sweep(*CHEAP, *LONG, *JOBLIB, "seed=0,1,2,3", wait=False)
    processes = running.await_running(2)
    helpers = {running.folder.process(number).runner for number in processes}
    assert len(helpers) == 2
    assert semaphores_of(running.process.pid)
    running.process.kill()
    running.process.wait()
    await_gone([*processes.values(), *helpers])
    while semaphores_of(running.process.pid):
        time.sleep(0.1)
    # What the launcher had handed out beforehand does not begin.
    assert running.states() == ["stopped", "stopped", "waiting", "waiting"]


@pytest.mark.slow
def test_chains_within_helpers_end_when_train_py_is_killed(repository, tmp_path):
    places = [f"paths.store={tmp_path / 'store'}", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    words = ["-m", *CHEAP, *LONG, *JOBLIB, "seed=0,1", *places]
    process = subprocess.Popen([sys.executable, str(repository / "train.py"), *words], cwd=tmp_path)
    runs = [tmp_path / "sweep" / str(number) for number in range(2)]
    deadline = time.monotonic() + PATIENCE
    while not all((run / "chain.json").exists() for run in runs):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    helpers = {read_claim(run).process for run in runs}
    assert len(helpers - {process.pid}) == 2
    process.kill()
    process.wait()
    await_gone(helpers)
    while semaphores_of(process.pid):
        time.sleep(0.1)


def test_the_report_on_a_sweep_that_was_killed_names_its_chains(sweep, capsys):
    long = ("generations=200", "model.segment_length=200", "model.replicates=4,200000,5")
    killed = sweep(*CHEAP, *long, wait=False)
    while 1 not in (running := killed.await_running(1)):
        time.sleep(0.05)
    killed.process.kill()
    killed.process.wait()
    await_gone(running.values())
    main([str(killed.folder.path)])
    printed = capsys.readouterr().out.splitlines()
    # A chain that has recorded nothing yet is named as it was typed, others by what their settings differ in.
    at_work, not_begun = (line.replace("model.", "") for line in printed[printed.index("unfinished:") + 1 :])
    assert re.fullmatch(r"  replicates=200000, seed 0 \(1\): killed in generation \d+ of 200", at_work)
    assert not_begun == "  replicates=5, seed 0 (2): has not begun"
    page = (killed.folder.path / "report" / "report.html").read_text()
    # A chain that was killed makes a group of its own once it has recorded something.
    assert re.search(r"3 chains(?: in 2 groups)?, 1 of them finished", page)
    assert all(line.strip() in page for line in printed[-2:])


@pytest.mark.slow
def test_a_grid_again_computes_nothing_and_a_seed_more_costs_just_that(sweep, tmp_path):
    words = (*CHEAP, "regime=replace,accumulate")
    first = sweep(*words, "seed=0,1", name="first")
    assert first.process.returncode == 0, first.err
    # Every fit has its measures beside it.
    assert len(computed(first.folder, range(4))) == 2 * 2 * (1 + 2 * 2)
    again = sweep(*words, "seed=0,1", name="again")
    assert again.process.returncode == 0, again.err
    assert computed(again.folder, range(4)) == []
    assert [recorded(again.folder, n) for n in range(4)] == [recorded(first.folder, n) for n in range(4)]
    more = sweep(*words, "seed=0,1,2", name="more")
    seeds = {chain.number: chain.title for chain in more.folder.chains()}
    added = [number for number, title in seeds.items() if "seed=2" in title]
    assert len(computed(more.folder, added)) == 2 * (1 + 2 * 2)
    assert computed(more.folder, seeds.keys() - added) == []


@pytest.mark.slow
def test_a_sweep_that_was_killed_ends_with_the_same_bits(sweep, train, tiny, tmp_path):
    words = (*tiny, "seed=0,1", "regime=replace,preserve")
    whole = sweep(*words, f"paths.store={tmp_path / 'its_own'}", name="whole")
    assert whole.process.returncode == 0, whole.err
    killed = sweep(*words, *JOBLIB, wait=False)
    while not any((tmp_path / "store" / "synthetic").glob("[!.]*")):
        assert killed.process.poll() is None
        time.sleep(0.1)
    killed.process.kill()
    killed.process.wait()
    again = sweep(*words, *JOBLIB)
    assert again.process.returncode == 0, again.err
    assert [recorded(again.folder, n) for n in range(4)] == [recorded(whole.folder, n) for n in range(4)]
    alone = train(*tiny, "seed=1", "regime=preserve", store=tmp_path / "alone")
    assert alone.code == 0
    assert {name: alone.bytes(name) for name in DETERMINISTIC[:5]} == recorded(whole.folder, 3)


@pytest.mark.slow
def test_submitit_runs_the_chains_on_this_machine(sweep):
    pytest.importorskip("submitit")
    local = sweep(*CHEAP, "hydra/launcher=submitit_local", "seed=0,1")
    assert local.process.returncode == 0, local.err
    assert local.states() == ["finished", "finished"]
