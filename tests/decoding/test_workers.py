"""Writing by several processes: the same texts, whoever writes them, and no process left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from small_networks import network, settings

from modelcollapse.decoding.workers import WorkerLost, continue_by_workers
from modelcollapse.errors import UserError
from modelcollapse.families.language_model.generating import Shards, engine_over, engines_at_once
from modelcollapse.seeding import Stream
from processes import assert_end, children

STREAM = Stream(3, 1, "synthesis")
SAMPLE = {"kind": "sample", "beams": 1}
PATIENCE = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network as the store keeps it."""
    place = tmp_path_factory.mktemp("model")
    network(hidden_size=32, num_hidden_layers=2).save_pretrained(place)
    return place


@pytest.fixture
def groups():
    prompts = torch.randint(3, 30, (22, 6), generator=torch.Generator().manual_seed(0))
    return dict(enumerate(prompts.split(4)))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def written_by_workers(groups, folder, options, workers=2):
    found = {}
    continue_by_workers(groups, partial(engine_over, folder, options, STREAM), workers, 1, found.__setitem__)
    return {group: found[group].tolist() for group in sorted(found)}


def left_behind():
    """Processes that this one started and that are still there."""
    return [process for process in multiprocessing.active_children() if process.is_alive()]


@pytest.mark.slow
@pytest.mark.parametrize("changed", [SAMPLE, {}], ids=str)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_write_what_one_process_writes(groups, folder, changed, workers):
    options = settings(**changed)
    engine = engine_over(folder, options, STREAM)
    expected = {group: engine.continue_prompts(prompts, group).tolist() for group, prompts in groups.items()}
    assert written_by_workers(groups, folder, options, workers) == expected
    assert not left_behind()


@pytest.mark.slow
def test_an_error_of_a_worker_is_reported_as_its_own(groups, folder):
    with pytest.raises(UserError, match=r"decoding\.beams: 30 must be fewer than the 30 tokens"):
        written_by_workers(groups, folder, settings(beams=30), workers=1)
    assert not left_behind()


@pytest.mark.slow
def test_a_chain_written_by_workers_is_the_same_and_a_killed_worker_costs_its_own_shard_only(
    chain, tiny, tmp_path, monkeypatch
):
    overrides = [*tiny, "generations=0", "decoding.batch_size=4", "decoding.kind=sample", "decoding.beams=1"]
    expected = chain(*overrides, store=tmp_path / "one")
    overrides += ["decoding.workers=2"]
    written, write = [], Shards.write

    def kill_a_worker_at_the_third(shards, group, tokens):
        write(shards, group, tokens)
        written.append(group)
        if len(written) == 3:
            # As a machine does that runs out of memory.
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    monkeypatch.setattr(Shards, "write", kill_a_worker_at_the_third)
    with pytest.raises(WorkerLost, match=r"decoding\.workers.*the same command goes on.*decoding\.batch_size"):
        chain(*overrides)
    assert not left_behind()
    before = len(written)
    found = chain(*overrides)
    assert sorted(written) == list(range(15)), "nothing is written twice"
    assert 3 <= before < 15
    assert found.bytes() == expected.bytes()
    manifest = found.store.manifest(found.generations()[0].artifacts["synthetic"])
    assert (manifest.execution["workers"], manifest.execution["threads"]) == (min(2, 15 - before), 1)


STARTER = """
import sys
from functools import partial
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from small_networks import settings
from modelcollapse.decoding.workers import continue_by_workers
from modelcollapse.families.language_model.generating import engine_over
from modelcollapse.seeding import Stream

def say(group, tokens):
    print(group, flush=True)

groups = dict.fromkeys(range(100000), torch.zeros(4, 6, dtype=torch.int64))
make = partial(engine_over, Path(sys.argv[1]), settings(), Stream(0, 0, "synthesis"))
if __name__ == "__main__":
    continue_by_workers(groups, make, 2, 1, say)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_workers_end_with_the_process_that_started_them(folder, tmp_path, number):
    script = tmp_path / "starter.py"
    script.write_text(STARTER)
    command = [sys.executable, script, folder, Path(__file__).parent]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as starter:
        assert starter.stdout.readline().strip().isdigit(), "at work"
        started = children(starter.pid)
        assert len(started) == 3, "two workers and Python's own tracker"
        os.kill(starter.pid, number)
    assert_end(started, PATIENCE)


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_all_workers_together_keep_to_the_memory(folder):
    counts = {
        memory: engines_at_once(folder, settings(batch_size=40, memory_gb=memory), 7) for memory in (1e-9, 1e-2, 1.0)
    }
    assert counts[1e-9] == 1
    assert 1 < counts[1e-2] < counts[1.0]
    twice = engines_at_once(folder, settings(batch_size=80, memory_gb=1.0), 7)
    assert twice == pytest.approx(counts[1.0] / 2, rel=0.05)
    assert engines_at_once(folder, settings(engine="transformers"), 7) is None
