"""Chains that are killed while candidates are scored or chosen, and started again: the same bits."""

import signal

import pytest

from conftest import TINY, run_chain_of
from processes import fork_server
from test_kills import RECORDED, Moment, Runner

WORDS = (
    *TINY,
    "decoding.kind=sample",
    "decoding.beams=1",
    "selection=top",
    "trainer.scoring_batch_size=10",
    "generations=1",
)
SCORING, SELECTING = "candidate_scores", "synthetic"
MOMENTS = {
    "scoring, between batches": (SCORING, "forward", "{kind}/.{key}.*", 3),
    "scoring, before it is published": (SCORING, "rename", "{kind}/.{key}.*/manifest.json", 1),
    "selecting, before it is published": (SELECTING, "rename", "{kind}/.{key}.*/manifest.json", 1),
}


@pytest.fixture(scope="module")
def forks():
    return fork_server()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    place = tmp_path_factory.mktemp("undisturbed")
    return run_chain_of(WORDS, place / "store", place / "run")


@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_selection_ends_with_the_same_bits(forks, tmp_path, undisturbed, chain, name):
    role, event, pattern, nth = MOMENTS[name]
    artifact = undisturbed.generations()[1].artifacts[role]
    runner = Runner(forks, tmp_path, WORDS)
    code, log = runner.finish(Moment(event, pattern.format(kind=artifact.kind, key=artifact.key), nth))
    assert code == -signal.SIGKILL, log
    assert not (runner.store / artifact.kind / artifact.key).exists()
    resumed = chain(*WORDS, store=runner.store)
    for file in RECORDED:
        assert resumed.bytes(file) == undisturbed.bytes(file), file
    assert artifact.label in resumed.computed()
    assert "generation 1 · synthesis" not in resumed.computed()
    assert not list(runner.store.glob(f"{artifact.kind}/.*"))
    for each in resumed.generations()[1].artifacts.values():
        kept, expected = resumed.store.manifest(each), undisturbed.store.manifest(each)
        assert kept.files == expected.files, each
