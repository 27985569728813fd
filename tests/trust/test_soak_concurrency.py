"""Eight processes that want the same and overlapping chains at once, some of them killed: each is made once."""

import random
import signal
from collections import Counter

import pytest
from tiny_chains import CHAINS, recorded

from conftest import TINY
from modelcollapse.commands.store import main
from processes import PATIENCE, Program, fork_server, soak_size

SAMPLING = (*TINY, "decoding=sample", "decoding.batch_size=20", "generations=2")
OVERLAPPING = {
    "same 1": SAMPLING,
    "same 2": SAMPLING,
    "same 3": SAMPLING,
    "longer": (*SAMPLING, "generations=3"),
    "accumulate": (*SAMPLING, "regime=accumulate"),
    "preserve": (*SAMPLING, "regime=preserve"),
    "another seed": (*SAMPLING, "seed=1"),
    "another decoding": (*SAMPLING, "decoding.temperature=0.5"),
}
GAUSSIANS = {
    **{f"same {number}": CHAINS["gaussian"] for number in range(3)},
    "longer": (*CHAINS["gaussian"], "generations=8"),
}


@pytest.fixture(scope="module")
def forks():
    return fork_server()


def alone(forks, folder, chains):
    """Words -> the record that they leave in a store of their own."""
    records = {}
    for name, words in chains.items():
        if words not in records:
            program = Program(forks, folder / name.replace(" ", "-"))
            process = program.start(words, "run")
            process.join(PATIENCE)
            assert process.exitcode == 0, program.log("run")
            records[words] = recorded(program.folder / "run")
    return records


def check_together(forks, folder, chains, kills):
    """Start all chains at once, kill some of the processes, start those again; all end as they do alone."""
    records = alone(forks, folder / "alone", chains)
    program = Program(forks, folder / "together")
    running = {name: program.start(words, name) for name, words in chains.items()}
    shuffler = random.Random(0)
    for _ in range(kills):
        name = shuffler.choice(sorted(running))
        running[name].join(shuffler.uniform(0, 3))
        if running[name].exitcode is None:
            running[name].kill()
            running[name].join()
            # One that ended by itself in the moment before is left alone.
            if running[name].exitcode != 0:
                assert running[name].exitcode == -signal.SIGKILL
                running[name] = program.start(chains[name], name)
    for name, process in running.items():
        process.join(PATIENCE)
        assert process.exitcode == 0, (name, program.log(name))
    for name, words in chains.items():
        assert recorded(program.folder / name) == records[words], name
    # A process may be killed after it has published and before it notes so: then the note is missing, never double.
    assert max(Counter(program.keys_made()).values()) == 1
    assert program.litter() == []
    assert main(["verify", "--store", str(program.store)]) == 0


@pytest.mark.parametrize("kills", [0, 2])
def test_a_few_processes_on_overlapping_chains_make_each_artifact_once(forks, tmp_path, kills):
    check_together(forks, tmp_path, GAUSSIANS, kills)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kills", [0, 40])
def test_eight_processes_on_overlapping_chains_make_each_artifact_once(forks, tmp_path, kills):
    check_together(forks, tmp_path, OVERLAPPING, soak_size("SOAK_KILLS", kills) if kills else 0)
