"""Chains that are killed while rows of a training set are scored or chosen, and started again: the same bits."""

import signal

import pytest

from conftest import TINY, run_chain_of
from processes import fork_server
from test_kills import RECORDED, Moment, Runner

WORDS = (
    *TINY,
    "regime=accumulate",
    "selection=drayson",
    "selection/scorer=surplexity",
    "selection.rule.exponent=1",
    "trainer.scoring_batch_size=10",
    "generations=1",
)
SCORING, SELECTING = "candidate_scores", "selected_rows"
MOMENTS = {
    "scoring, between batches": (SCORING, "forward", "{kind}/.{key}.*", 3),
    "scoring, before it is published": (SCORING, "rename", "{kind}/.{key}.*/manifest.json", 1),
    "selecting, before it is published": (SELECTING, "rename", "{kind}/.{key}.*/manifest.json", 1),
}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_selection_of_a_training_set_ends_with_the_same_bits(tmp_path, chain, name):
    undisturbed = run_chain_of(WORDS, tmp_path / "undisturbed" / "store", tmp_path / "undisturbed" / "run")
    role, event, pattern, nth = MOMENTS[name]
    artifact = undisturbed.generations()[1].artifacts[role]
    runner = Runner(fork_server(), tmp_path, WORDS)
    code, log = runner.finish(Moment(event, pattern.format(kind=artifact.kind, key=artifact.key), nth))
    assert code == -signal.SIGKILL, log
    assert not (runner.store / artifact.kind / artifact.key).exists()
    resumed = chain(*WORDS, store=runner.store)
    for file in RECORDED:
        assert resumed.bytes(file) == undisturbed.bytes(file), file
    assert artifact.label in resumed.computed()
    assert "generation 0 · synthesis" not in resumed.computed()
    for each in resumed.generations()[1].artifacts.values():
        assert resumed.store.manifest(each).files == undisturbed.store.manifest(each).files, each
