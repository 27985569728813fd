"""Chains killed at random moments, over and over: they end as if nothing had happened.

``pytest -m soak tests/trust/test_soak_kills.py`` does it with 210 kills (SOAK_KILLS says how many); a few always run.
"""

import math
import random
import signal

import pytest
from tiny_chains import CHAINS, recorded

from conftest import TINY
from modelcollapse.commands.store import main
from modelcollapse.store.claims import MARKER_FILE
from processes import Program, ended_within, fork_server, soak_size

KILLED = {
    "language_model": (*TINY, "generations=2", "decoding=sample", "decoding.batch_size=20", "model.init=previous"),
    "vae": CHAINS["vae"],
    "gaussian_mixture": (*CHAINS["gaussian_mixture"], "generations=12"),
}


@pytest.fixture(scope="module")
def forks():
    return fork_server()


@pytest.fixture(scope="module")
def undisturbed(forks, tmp_path_factory):
    """Family -> the record of its chain, never killed, and the seconds it computed for."""
    found = {}

    def get(family):
        if family not in found:
            program = Program(forks, tmp_path_factory.mktemp("undisturbed") / family)
            process, seconds = program.start(KILLED[family], "run"), 0.0
            while not ended_within(process, seconds):
                seconds += 0.02
            assert process.exitcode == 0, program.log("run")
            found[family] = recorded(program.folder / "run"), seconds
        return found[family]

    return get


def killed_until_done(program, overrides, seconds, shuffler, most):
    """Start the command again after each kill until it ends by itself; how often it was killed.

    Moments are exponential: most kills come early, some runs are left alone for long enough to end.
    """
    kills = 0
    while True:
        process = program.start(overrides, "run")
        patience = math.inf if kills >= most else shuffler.expovariate(3 / seconds)
        if ended_within(process, patience):
            assert process.exitcode == 0, program.log("run")
            return kills
        process.kill()
        process.join()
        if process.exitcode == 0:
            # It ended by itself in the moment before.
            return kills
        assert process.exitcode == -signal.SIGKILL
        kills += 1


def check_killed_chain(program, family, undisturbed, shuffler, most):
    record, seconds = undisturbed(family)
    kills = killed_until_done(program, KILLED[family], seconds, shuffler, most)
    assert recorded(program.folder / "run") == record
    assert program.litter() == []
    assert {path.name for path in (program.folder / "run").glob(".*")} == {".hydra", MARKER_FILE}
    assert main(["verify", "--store", str(program.store)]) == 0
    return kills


@pytest.mark.parametrize("family", KILLED)
def test_a_chain_killed_at_random_moments_ends_as_if_it_had_not_been(forks, undisturbed, tmp_path, family):
    check_killed_chain(Program(forks, tmp_path / "killed"), family, undisturbed, random.Random(family), most=2)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_hundreds_of_kills_change_no_bit(forks, undisturbed, tmp_path):
    wanted, shuffler, kills, chains = soak_size("SOAK_KILLS", 210), random.Random(0), 0, 0
    while kills < wanted:
        family = list(KILLED)[chains % len(KILLED)]
        program = Program(forks, tmp_path / f"chain-{chains}")
        kills += check_killed_chain(program, family, undisturbed, shuffler, most=wanted - kills)
        chains += 1
        print(f"{kills} kills of {chains} chains", flush=True)
