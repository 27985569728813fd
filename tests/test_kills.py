"""Chains that are killed, at any moment, and started again: they end as if nothing had happened.

The killed processes are real ones. They are forked from a server that has imported everything once, and they
kill themselves with SIGKILL at a moment that the test names, so that no test depends on who is quicker.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import DETERMINISTIC
from processes import fork_server

RECORDED = DETERMINISTIC[:5]
"""Those that do not wait for the end of the chain."""
PATIENCE = 240


@dataclass(frozen=True)
class Moment:
    """When a process kills itself: at the n-th event of a kind that happens while a path exists."""

    event: str
    """``step`` of an optimiser, ``forward`` pass of a network, ``rename`` of a file or folder of the store."""
    while_there: str
    """Pattern of paths in the store."""
    nth: int = 1


class Watch:
    """Counts what happens in this process, and kills it at its moment."""

    def __init__(self, store, moment, tally):
        self._store, self._moment, self._tally = Path(store), moment, Path(tally)
        self._counts = {"step": 0, "forward": 0, "rename": 0}
        self._waited = 0

    def install(self):
        from torch.nn.modules.module import register_module_forward_hook
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(lambda *_: self.happened("step"))
        register_module_forward_hook(
            lambda module, *_: self.happened("forward") if type(module).__name__ == "OPTDecoder" else None
        )
        sys.addaudithook(lambda event, names: self._renamed(*names) if event == "os.rename" else None)

    def _renamed(self, before, *_):
        if Path(before).is_relative_to(self._store):
            self.happened("rename")

    def happened(self, event):
        self._counts[event] += 1
        if self._moment and event == self._moment.event and any(self._store.glob(self._moment.while_there)):
            self._waited += 1
            if self._waited == self._moment.nth:
                self.report()
                os.kill(os.getpid(), signal.SIGKILL)

    def report(self):
        self._tally.write_text(json.dumps(self._counts))


def run_watched(overrides, cwd, log, store, moment, tally):
    """What a forked process does: the command, its output in a file, its moment watched for."""
    from modelcollapse.commands.run import train

    os.chdir(cwd)
    with Path(log).open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    watch = Watch(store, moment, tally)
    watch.install()
    sys.argv = ["train.py", *overrides]
    try:
        train()
    finally:
        watch.report()


@pytest.fixture(scope="module")
def forks():
    return fork_server()


class Runner:
    """Starts commands in forked processes on one store."""

    def __init__(self, forks, folder, overrides):
        self._forks, self.folder, self._overrides = forks, folder, overrides
        self.store = folder / "store"
        self._number = 0

    def start(self, moment=None, *more):
        self._number += 1
        self.run = self.folder / f"run-{self._number}"
        self._log, self._tally = (self.folder / f"{name}-{self._number}" for name in ("log", "tally"))
        overrides = [*self._overrides, *more, f"paths.store={self.store}", f"hydra.run.dir={self.run}"]
        arguments = (overrides, self.folder, self._log, self.store, moment, self._tally)
        process = self._forks.Process(target=run_watched, args=arguments)
        process.start()
        return process

    def finish(self, moment=None, *more):
        """The exit code, and what the process printed."""
        process = self.start(moment, *more)
        process.join(PATIENCE)
        return process.exitcode, self._log.read_text()

    def counts(self):
        return json.loads(self._tally.read_text())

    def files(self):
        return {name: (self.run / name).read_bytes() for name in DETERMINISTIC}


@pytest.fixture(scope="module")
def overrides(small_opt_words):
    """A chain with every stage: a base of three epochs in two parts each, two generations, three shards each.

    Written by transformers, whose forward passes can be counted; the native engine is killed at random moments in
    tests/trust.
    """
    return (
        *small_opt_words,
        "generations=1",
        "model.base.training.epochs=3",
        "model.base.parts_per_epoch=2",
        "model.base.training.batch_size=30",
        "model.training.epochs=3",
        "model.training.generation0_epochs=3",
        "model.training.batch_size=20",
        "model.init=previous",
        "decoding.kind=sample",
        "decoding.engine=transformers",
        "decoding.beams=1",
        "decoding.batch_size=20",
        "trainer.scoring_batch_size=10",
    )


@pytest.fixture(scope="module")
def undisturbed(forks, tmp_path_factory, overrides):
    """The same chain in a store of its own, never killed: (its files, what it counted)."""
    runner = Runner(forks, tmp_path_factory.mktemp("undisturbed"), overrides)
    code, log = runner.finish()
    assert code == 0, log
    return runner.files(), runner.counts()


@pytest.fixture
def runner(forks, tmp_path, overrides):
    return Runner(forks, tmp_path, overrides)


@pytest.fixture(scope="module")
def keys(overrides, tmp_path_factory):
    """Label of each artifact of the chain -> its key."""
    from conftest import run_chain_of

    declared = run_chain_of(overrides, tmp_path_factory.mktemp("nothing"), None, execute=False)
    found = {}
    stack = [artifact for generation in declared.generations() for artifact in generation.artifacts.values()]
    while stack:
        artifact = stack.pop()
        found[artifact.label] = f"{artifact.kind}/{artifact.key}"
        stack += artifact.parents.values()
    return found


BASE, FIT, SYNTHESIS = "base · fit", "generation 1 · fit", "generation 1 · synthesis"
SCORING, MEASURING = "generation 1 · scoring", "generation 1 · measuring the synthetic set"
MOMENTS = {
    "base, within its first part": (BASE, "step", "progress/{key}", 2),
    "base, between parts": (BASE, "step", "progress/{key}/files/epoch-00001", 1),
    "base, within a later epoch": (BASE, "step", "progress/{key}/files/epoch-00002", 3),
    "fit, within its first epoch": (FIT, "step", "progress/{key}", 2),
    "fit, before the first checkpoint has its name": (FIT, "rename", "progress/{key}/files/.epoch-00001.staged", 1),
    "fit, before the second checkpoint has its name": (FIT, "rename", "progress/{key}/files/.epoch-00002.staged", 1),
    "fit, before the best weights have their name": (FIT, "rename", "progress/{key}/files/.best-00000.safetensors", 1),
    "fit, before later best weights have their name": (FIT, "rename", "progress/{key}/files/epoch-00001", 1),
    "fit, while it validates": (FIT, "forward", "progress/{key}/files/epoch-00002", 5),
    "fit, before it is published": (FIT, "rename", "{kind}/.{key}.*/manifest.json", 1),
    "synthesis, within the first shard": (SYNTHESIS, "forward", "progress/{key}", 3),
    "synthesis, between shards": (SYNTHESIS, "forward", "progress/{key}/files/shard-000000-*", 1),
    "synthesis, before a shard has its name": (
        SYNTHESIS,
        "rename",
        "progress/{key}/files/.shard-000020-*",
        1,
    ),
    "synthesis, before it is published": (SYNTHESIS, "rename", "{kind}/.{key}.*/manifest.json", 1),
    "scoring, between batches": (SCORING, "forward", "{kind}/.{key}.*", 3),
    "scoring, before it is published": (SCORING, "rename", "{kind}/.{key}.*/manifest.json", 1),
    "measuring, between batches": (MEASURING, "forward", "{kind}/.{key}.*", 3),
}


ALWAYS_TRIED = (
    "base, between parts",
    "fit, within its first epoch",
    "fit, before the second checkpoint has its name",
    "fit, before it is published",
    "synthesis, before a shard has its name",
    "scoring, between batches",
)
"""One of each kind; the others are minutes long together. Kills at random moments are in tests/trust."""


@pytest.mark.parametrize(
    "name", [name if name in ALWAYS_TRIED else pytest.param(name, marks=pytest.mark.slow) for name in MOMENTS]
)
def test_a_killed_chain_ends_with_the_same_bits(runner, keys, undisturbed, chain, overrides, name):
    label, event, pattern, nth = MOMENTS[name]
    kind, key = keys[label].split("/")
    code, log = runner.finish(Moment(event, pattern.format(kind=kind, key=key), nth))
    assert code == -signal.SIGKILL, log
    assert not (runner.store / kind / key).exists()
    resumed = chain(*overrides, store=runner.store)
    for file in RECORDED:
        assert resumed.bytes(file) == undisturbed[0][file], file
    assert label in resumed.computed()
    assert not list(runner.store.glob(f"{kind}/.*"))
    assert not list((runner.store / "progress").iterdir())


def test_what_was_finished_before_the_kill_is_not_done_again(runner, keys):
    """Three steps an epoch; three shards a set, eight forward passes each: one for every new token.

    Renamed are the note of the run, two shards, and the artifact.
    """
    fit, synthesis = (keys[label].split("/")[1] for label in (FIT, SYNTHESIS))
    published = Moment("rename", f"model/.{fit}.*/manifest.json")
    assert runner.finish(Moment("step", f"progress/{fit}/files/epoch-00001", 2))[0] == -signal.SIGKILL
    assert runner.finish(published)[0] == -signal.SIGKILL
    assert runner.counts()["step"] == 6
    in_second_shard = Moment("forward", f"progress/{synthesis}/files/shard-000000-000020.safetensors", 4)
    assert runner.finish(in_second_shard)[0] == -signal.SIGKILL
    written = Moment("rename", f"synthetic/.{synthesis}.*/manifest.json")
    assert runner.finish(written)[0] == -signal.SIGKILL
    assert runner.counts() == {"step": 0, "forward": 16, "rename": 4}


@pytest.mark.slow
def test_a_chain_killed_over_and_over_ends_with_the_same_bits(runner, keys, undisturbed):
    """Each attempt ends at its fourth rename, the first of which notes the run: an epoch, shards or more."""
    for _ in range(60):
        code, log = runner.finish(Moment("rename", "locks", 4))
        if code == 0:
            break
        assert code == -signal.SIGKILL, log
    assert code == 0
    assert runner.files() == undisturbed[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("more", "seen"),
    [
        (("model.training.generation0_epochs=100000",), "progress/*/files/epoch-00002"),
        (("decoding.batch_size=1", "decoding.beams=60", "data.train_blocks=300"), "progress/*/files/shard-000001-*"),
    ],
    ids=["fit", "synthesis"],
)
def test_a_signal_stops_the_chain_cleanly_and_says_how_to_go_on(forks, tmp_path, tiny, number, more, seen):
    runner = Runner(forks, tmp_path, tiny)
    process = runner.start(None, *more)
    _wait_for(process, runner.store, seen)
    os.kill(process.pid, number)
    process.join(PATIENCE)
    log = (tmp_path / "log-1").read_text()
    assert process.exitcode == 128 + number
    assert f"Stopped by {number.name}" in log
    assert "the same command goes on where it stopped" in log
    assert more[0] in log.splitlines()[-1]
    assert "Traceback" not in log
    assert json.loads((runner.run / "chain.json").read_text())["status"] == "interrupted"
    assert list(runner.store.glob(seen))
    assert not list(runner.store.glob("*/.*"))


def test_the_script_itself_stops_cleanly_and_goes_on(tmp_path, tiny, repository, train):
    """train.py as people start it; what it has to do is long enough for the signal, and not too long to finish."""
    overrides = [*tiny, "generations=0", "model.training.epochs=40"]
    store = tmp_path / "stopped"
    typed = [sys.executable, str(repository / "train.py"), *overrides, f"paths.store={store}", "hydra.run.dir=run"]
    process = subprocess.Popen(typed, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_for(process, store, "progress/*/files/epoch-00001")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Stopped by SIGTERM" in said
    assert "Traceback" not in said
    resumed = train(*overrides, store=store)
    undisturbed = train(*overrides, store=tmp_path / "other")
    assert resumed.code == 0, (resumed.err, resumed.out)
    assert resumed.bytes() == undisturbed.bytes()


def _wait_for(process, store, pattern):
    """Until a path is there; the process must still be alive then."""
    deadline = time.monotonic() + PATIENCE
    while not any(store.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern}"
        with contextlib.suppress(AttributeError):
            assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
