"""Chains that are killed while a selection scores or chooses, and started again: the same bits."""

import signal

import pytest

from conftest import TINY, run_chain_of
from processes import fork_server
from test_kills import RECORDED, Moment, Runner

SMALL = (*TINY, "trainer.scoring_batch_size=10", "generations=1")
WORDS = {
    "candidates": (*SMALL, "decoding.kind=sample", "decoding.beams=1", "selection=top"),
    "training set": (
        *SMALL,
        "regime=accumulate",
        "selection=drayson",
        "selection/scorer=surplexity",
        "selection.rule.exponent=1",
    ),
}
SELECTED = {"candidates": "synthetic", "training set": "selected_rows"}
"""Role of what is kept."""
BEFORE = {"candidates": "generation 1 · synthesis", "training set": "generation 0 · synthesis"}
"""What was finished when the chain was killed."""
MOMENTS = {
    "scoring, between batches": ("candidate_scores", "forward", "{kind}/.{key}.*", 3),
    "scoring, before it is published": ("candidate_scores", "rename", "{kind}/.{key}.*/manifest.json", 1),
    "selecting, before it is published": (None, "rename", "{kind}/.{key}.*/manifest.json", 1),
}


@pytest.fixture(scope="module")
def forks():
    return fork_server()


@pytest.fixture(scope="module", params=["candidates", pytest.param("training set", marks=pytest.mark.slow)])
def undisturbed(request, tmp_path_factory):
    """What is selected from, and the chain that nobody kills."""
    place = tmp_path_factory.mktemp("undisturbed")
    return request.param, run_chain_of(WORDS[request.param], place / "store", place / "run")


@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_selection_ends_with_the_same_bits(forks, tmp_path, undisturbed, chain, name):
    (of, undisturbed), (role, event, pattern, nth) = undisturbed, MOMENTS[name]
    artifact = undisturbed.generations()[1].artifacts[role or SELECTED[of]]
    runner = Runner(forks, tmp_path, WORDS[of])
    code, log = runner.finish(Moment(event, pattern.format(kind=artifact.kind, key=artifact.key), nth))
    assert code == -signal.SIGKILL, log
    assert not (runner.store / artifact.kind / artifact.key).exists()
    resumed = chain(*WORDS[of], store=runner.store)
    for file in RECORDED:
        assert resumed.bytes(file) == undisturbed.bytes(file), file
    assert artifact.label in resumed.computed()
    assert BEFORE[of] not in resumed.computed()
    assert not list(runner.store.glob(f"{artifact.kind}/.*"))
    for each in resumed.generations()[1].artifacts.values():
        kept, expected = resumed.store.manifest(each), undisturbed.store.manifest(each)
        assert kept.files == expected.files, each
