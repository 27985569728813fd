"""Chains of a sweep are forked from one process: each is alone, whatever happens to another or to their server."""

import os
import signal
import subprocess
import threading

import pytest

from conftest import DETERMINISTIC, run_command
from modelcollapse.record.sweep_folder import PlannedChain, SweepFolder
from modelcollapse.sweeps.forking import Order, fork_chain
from modelcollapse.sweeps.runner import run_planned
from processes import wait_for

SMALL = (
    *("model=discrete", "data=categorical_samples", "decoding=none", "tracking=none"),
    *("data.rows=20", "model.replicates=3", "trainer.threads=1", "trainer.accelerator=cpu"),
)
LONG = ("model.replicates=20000", "generations=2000", "model.segment_length=2000")


def begun(tmp_path, *chains):
    """A sweep of chains with these overrides, each with a store of its own, and its permit."""
    sweep = SweepFolder(tmp_path / "sweep")
    stores = [f"paths.store={tmp_path / f'store-{number}'}" for number in range(len(chains))]
    planned = [
        PlannedChain(number, (*SMALL, stores[number], *own), (), str(number), generations=2)
        for number, own in enumerate(chains)
    ]
    return sweep, sweep.begin("python sweep.py", planned)


def parent_of(process):
    """The number of the process that started the process of this number."""
    listed = subprocess.run(["ps", "-o", "ppid=", "-p", str(process)], capture_output=True, text=True, check=True)
    return int(listed.stdout)


def test_a_forked_chain_has_the_record_of_a_chain_alone(tmp_path):
    sweep, permit = begun(tmp_path, ("generations=2", "seed=1"), ("generations=2", "seed=2"))
    for number in (0, 1):
        assert run_planned(sweep, number, permit) == 0, sweep.output(number).read_text()
    places = (f"paths.store={tmp_path / 'alone'}", f"hydra.run.dir={tmp_path / 'run'}")
    alone = run_command([*SMALL, "generations=2", "seed=2", *places], tmp_path, tmp_path / "run")
    assert alone.code == 0, alone.err
    written = [name for name in DETERMINISTIC if (alone.folder / name).exists()]
    assert {"generations.jsonl", "provenance.jsonl"} < {*written}
    assert [(sweep.chain(1) / name).read_bytes() for name in written] == [alone.bytes(name) for name in written]
    assert (sweep.chain(0) / "generations.jsonl").read_bytes() != alone.bytes()


def test_each_chain_has_its_own_variables_folder_and_output(tmp_path, monkeypatch):
    chains, outputs = [], {}
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        variables = {**os.environ, "MODELCOLLAPSE_STORE": f"store-of-{name}", "COLUMNS": "1000"}
        chains.append(fork_chain(Order((*SMALL, "generations=0", "plan=true"), variables, tmp_path / f"{name}.log")))
        assert chains[-1].wait() == 0
        outputs[name] = (tmp_path / f"{name}.log").read_text()
    assert f"store: {tmp_path / 'one' / 'store-of-one'}" in outputs["one"]
    assert f"store: {tmp_path / 'other' / 'store-of-other'}" in outputs["other"]
    assert "store-of-one" not in outputs["other"]
    assert chains[0].pid != chains[1].pid


@pytest.mark.slow
def test_a_killed_server_ends_its_chain_and_the_next_chain_has_another(tmp_path):
    sweep, permit = begun(tmp_path, LONG, ("generations=2",))
    job = threading.Thread(target=run_planned, args=(sweep, 0, permit))
    job.start()
    wait_for(lambda: (sweep.chain(0) / "progress.json").exists() or not job.is_alive(), "no chain begins")
    os.kill(parent_of(sweep.process(0).process), signal.SIGKILL)
    job.join()
    assert sweep.process(0).error == "killed by SIGTERM"
    assert run_planned(sweep, 1, permit) == 0, sweep.output(1).read_text()


def test_a_signal_for_a_chain_that_has_just_ended_is_no_order_for_the_server(tmp_path):
    for _ in range(3):
        chain = fork_chain(Order(("nonsense=1",), dict(os.environ), tmp_path / "log"))
        while chain.returncode is None:
            chain.signal(signal.SIGTERM)
        assert chain.returncode in (2, -signal.SIGTERM, 128 + signal.SIGTERM)
