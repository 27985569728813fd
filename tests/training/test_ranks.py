"""DDP fits: what one device computes, and no process left behind, whatever ends one."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from shared_fits import EPOCHS, STEPS, fit

from conftest import run_chain_of
from modelcollapse.errors import FitFailed
from modelcollapse.training.ranks import RankLost
from modelcollapse.training.verified_files import finished_epochs, newest_checkpoint
from processes import assert_end, children

PATIENCE = 60
ROUNDINGS = 160 * 2**-24
"""Sums of float32 in another order, as in tests/trust/test_numbers.py."""
WITHOUT_GRADIENT = re.compile(r"k_proj\.bias")
"""Attention does not depend on it: what Adam follows there is rounding errors."""
DROPOUT = 0.2

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    assert not multiprocessing.active_children()
    assert not torch.distributed.is_initialized()
    torch.set_num_threads(before)


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("devices", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_devices_fit_what_one_fits(tmp_path, devices):
    """With weighted rows, parts of unequal size, fewer rows than ranks in the last batch, and clipped gradients."""
    weights, lines = fit(tmp_path / "one", 1)
    shared, shared_lines = fit(tmp_path / "several", devices)
    largest = max(tensor.abs().max() for tensor in weights.values())
    for name in weights:
        if not WITHOUT_GRADIENT.search(name):
            assert (shared[name] - weights[name]).abs().max() <= ROUNDINGS * largest, name
    for line, shared_line in zip(lines, shared_lines, strict=True):
        assert shared_line == pytest.approx(line, rel=ROUNDINGS)
    assert shared_lines != lines, "otherwise nothing was shared"


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 3])
def test_a_rank_that_is_killed_costs_its_epoch_and_no_bits(tmp_path, devices):
    with pytest.raises(RankLost, match=r"trainer\.devices.*the same command goes on.*fewer devices"):
        fit(tmp_path / "killed", devices, DROPOUT, "killed")
    assert finished_epochs(newest_checkpoint(tmp_path / "killed")) == 1
    resumed, resumed_lines = fit(tmp_path / "killed", devices, DROPOUT)
    weights, lines = fit(tmp_path / "undisturbed", devices, DROPOUT)
    assert resumed_lines == lines
    assert_same_bits(resumed, weights)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [f"epoch-{EPOCHS:05d}"]


@pytest.mark.slow
def test_the_best_weights_are_kept(tmp_path):
    best, lines = fit(tmp_path / "best", 2, DROPOUT, keep_best=True)
    perplexities = [line["validation/perplexity"] for line in lines]
    kept = perplexities.index(min(perplexities))
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == [
        f"best-{kept:05d}.safetensors",
        f"epoch-{EPOCHS:05d}",
    ]
    last, _ = fit(tmp_path / "last", 2, DROPOUT)
    assert (kept == EPOCHS - 1) == all(torch.equal(best[name], last[name]) for name in best)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, DROPOUT])
def test_every_rank_has_a_dropout_of_its_own(tmp_path, dropout):
    """Given the same rows, they compute the same without dropout only."""
    weights, _ = fit(tmp_path / "one", 1, dropout)
    alike, _ = fit(tmp_path / "several", 2, dropout, "same rows")
    assert all(torch.equal(alike[name], weights[name]) for name in weights) == (dropout == 0)


@pytest.mark.slow
def test_a_rank_that_is_killed_before_it_is_ready_is_reported(tmp_path):
    started = time.monotonic()
    with pytest.raises(RankLost):
        fit(tmp_path / "killed", 3, DROPOUT, "unready")
    assert time.monotonic() - started < PATIENCE


@pytest.mark.slow
def test_an_error_of_a_rank_is_reported_as_its_own(tmp_path):
    """Others feel it as a connection that is closed, and do not report that."""
    with pytest.raises(MemoryError, match="too little in rank 1"):
        fit(tmp_path / "failed", 3, DROPOUT, "memory")
    assert finished_epochs(newest_checkpoint(tmp_path / "failed")) == 1


@pytest.mark.slow
def test_a_loss_that_is_no_number_in_one_rank_stops_all_and_says_where(tmp_path):
    with pytest.raises(FitFailed, match=rf"in epoch 1, at step {STEPS + 2};"):
        fit(tmp_path / "broken", 2, DROPOUT, "nan")


@pytest.mark.slow
def test_a_loss_that_is_no_number_in_one_rank_can_end_the_fit_of_all(tmp_path):
    reported = []
    weights, lines = fit(tmp_path / "broken", 2, DROPOUT, "nan", reported.append, on_nan="continue")
    assert [line["epoch"] for line in reported] == [line["epoch"] for line in lines] == [0, 1]
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.slow
def test_a_rank_that_has_nothing_to_validate_waits_for_the_others(tmp_path):
    _, lines = fit(tmp_path / "one", 1, validation_rows=1)
    _, shared_lines = fit(tmp_path / "several", 2, validation_rows=1)
    for line, shared_line in zip(lines, shared_lines, strict=True):
        assert shared_line == pytest.approx(line, rel=ROUNDINGS)


# ---- the process that started them --------------------------------------------------------------------------------

STARTER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from shared_fits import fit

def wait(line):
    print(line["epoch"], flush=True)
    if line["epoch"] == 1:
        input()

if __name__ == "__main__":
    fit(Path(sys.argv[1]), 2, 0.2, on_epoch=wait)
"""


def test_the_signal_to_stop_is_left_to_who_asks_for_the_fit(tmp_path):
    """Lightning's own handler would wait for other ranks, which wait for this one."""

    def stop(number, frame):
        raise AssertionError("nobody sends it")

    found, before = [], signal.signal(signal.SIGTERM, stop)
    try:
        fit(tmp_path / "fit", 2, on_epoch=lambda line: found.append(signal.getsignal(signal.SIGTERM)))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found == [stop] * EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ranks_end_with_the_process_that_started_them(tmp_path, number):
    script = tmp_path / "starter.py"
    script.write_text(STARTER)
    command = [sys.executable, script, tmp_path / "killed", Path(__file__).parent]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as starter:
        assert [starter.stdout.readline().strip() for _ in range(2)] == ["0", "1"]
        started = children(starter.pid)
        assert len(started) == 2, "a rank and Python's own tracker"
        os.kill(starter.pid, number)
    assert_end(started, PATIENCE)
    resumed, lines = fit(tmp_path / "killed", 2, DROPOUT)
    expected, expected_lines = fit(tmp_path / "undisturbed", 2, DROPOUT)
    assert lines == expected_lines
    assert_same_bits(resumed, expected)


# ---- whole chains ---------------------------------------------------------------------------------------------------


def test_more_gpus_than_there_are_are_reported_before_anything_is_made(train, tiny, tmp_path):
    answer = train(*tiny, "trainer.accelerator=gpu", "trainer.devices=1000", "model.training.batch_size=1000")
    assert answer.code == 2
    assert "trainer.devices: 1000 GPUs are asked for" in answer.err
    assert "Traceback" not in answer.err
    assert not list((tmp_path / "store").glob("[!.]*/*/manifest.json"))


SHARED = ("generations=0", "trainer.devices=2", "model.training.epochs=30")


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    """A chain that two processes shared, in a store of its own."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return run_chain_of((*tiny, *SHARED), folder / "store", folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("ended", ["a rank", "the chain", "the chain, politely"])
def test_a_chain_whose_processes_are_ended_goes_on_to_the_same_bits(ended, undisturbed, tiny, tmp_path, repository):
    overrides = (*tiny, *SHARED)
    store = tmp_path / "store"
    typed = [sys.executable, str(repository / "train.py"), *overrides, f"paths.store={store}", "hydra.run.dir=run"]
    with subprocess.Popen(typed, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + PATIENCE
        while not any(store.glob("progress/*/files/epoch-00002")) and time.monotonic() < until:
            time.sleep(0.005)
        started = children(process.pid)
        ranks = [pid for pid in started if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        assert len(ranks) == 1
        number = signal.SIGTERM if ended == "the chain, politely" else signal.SIGKILL
        os.kill(ranks[0] if ended == "a rank" else process.pid, number)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == {"a rank": 2, "the chain": -signal.SIGKILL}.get(ended, 128 + signal.SIGTERM)
    assert "Traceback" not in said
    assert ("(trainer.devices) was ended from outside" in said) == (ended == "a rank")
    assert ("the same command goes on" in said) == (ended != "the chain")
    assert_end(started, PATIENCE)
    resumed = run_chain_of(overrides, store, tmp_path / "resumed")
    assert resumed.bytes() == undisturbed.bytes()
    assert resumed.bytes("training.jsonl") == undisturbed.bytes("training.jsonl")
    assert not list((store / "progress").iterdir())
    assert not list(store.glob("*/.*"))
    manifest = resumed.store.manifest(resumed.generations()[0].artifacts["model"])
    assert (manifest.execution["world_size"], manifest.execution["threads"]) == (2, 1)
