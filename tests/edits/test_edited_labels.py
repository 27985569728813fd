"""Regressions on real features whose labels are edited, against exact errors and both ends of the published bound."""

import numpy as np
import pytest
import torch

from modelcollapse.families.estimators.estimator import SegmentStates
from modelcollapse.families.linear_regression import theory
from modelcollapse.seeding import Stream
from modelcollapse.settings import SettingsError

ROWS, DIMENSION, REPLICATES, GENERATIONS = 24, 3, 2000, 5
WORDS = (
    "model=linear_regression",
    "data=linear_samples",
    "decoding=none",
    "tracking=none",
    "trainer.threads=1",
    f"data.rows={ROWS}",
    f"data.dimension={DIMENSION}",
    "data.noise=0.5",
    "model.synthesis=samples",
    f"model.replicates={REPLICATES}",
    "model.segment_length=2",
    f"generations={GENERATIONS}",
)
EDITED = (*WORDS, "editing=label_resampling")
ONE_FIT = 0.25 * DIMENSION / (ROWS - DIMENSION - 1)
"""s^2 d / (n - d - 1), the error of a fit to real data."""


def errors(run):
    """|w_t - w*|^2 of every generation and replicate, [N + 1, R]."""
    found = dict.fromkeys(generation.artifacts["model"] for generation in run.generations())
    weights = torch.cat([SegmentStates.read(run.store.folder(artifact)).states["weights"] for artifact in found])
    true = torch.from_numpy(np.array(run.settings.data.true_weights))
    return (weights - true).square().sum(-1).numpy()


def real_rows(run):
    return run.family.build_estimator().real(ROWS, Stream(run.settings.seed, 0, "real"))


def distance(values, expected):
    return abs(values.mean() - expected) / (values.std(ddof=1) / np.sqrt(len(values)))


@pytest.fixture(scope="module")
def shrinking(tmp_path_factory):
    from conftest import run_chain_of

    place = tmp_path_factory.mktemp("shrinking")
    return run_chain_of((*EDITED, "editing.share=0.25", "editing.decay=0.5"), place / "store", place / "run")


def test_errors_are_the_exact_ones_of_the_features_and_stay_below_twice_that_of_a_fit(shrinking):
    found = errors(shrinking)
    features = real_rows(shrinking)[..., :-1]
    edited = [round(0.25 * 0.5**t * ROWS) for t in range(GENERATIONS)]
    exact = np.array([theory.edited_error(each, edited, 0.5) for each in features.numpy()]).T
    for generation in range(GENERATIONS + 1):
        assert distance(found[generation] - exact[generation], 0.0) < 4
    last = found[-1]
    assert last.mean() + 4 * last.std() / np.sqrt(REPLICATES) < 2 * ONE_FIT
    # What the labels that stay lose by their residuals is no small thing: without it, one fit and the edited shares.
    assert distance(last - (1 + sum(edited) / ROWS) * exact[0], 0.0) > 4
    assert distance(last, ONE_FIT) > 8


def test_to_edit_all_labels_is_to_replace_them(chain):
    everything = chain(*EDITED, "editing.share=1", "editing.decay=1")
    replaced = chain(*WORDS, "model.features=same", "regime=replace")
    assert errors(everything).tolist() == errors(replaced).tolist()
    found = errors(everything)
    for generation in range(GENERATIONS + 1):
        assert distance(found[generation], (generation + 1) * ONE_FIT) < 4


def test_the_edited_rows_are_the_real_ones_with_some_labels_of_models(shrinking):
    folders = _folders(shrinking, 4)
    rows = shrinking.family.load_synthetic(4, folders)
    real = real_rows(shrinking)
    assert torch.equal(rows[..., :-1], real[..., :-1])
    changed = (rows[..., -1] != real[..., -1]).double().mean()
    shares = [round(0.25 * 0.5**t * ROWS) / ROWS for t in range(5)]
    assert float(changed) == pytest.approx(1 - np.prod(1 - np.array(shares)), abs=0.01)


def _folders(run, generation):
    """Role -> folder of a generation's artifacts and of what these are made from."""
    artifacts = dict(run.generations()[generation].artifacts)
    artifacts = {**artifacts["model"].parents, **artifacts}
    return {role: run.store.folder(artifact) for role, artifact in artifacts.items()}


def test_segments_of_any_length_and_restarts_edit_alike(shrinking, chain):
    words = (*EDITED, "model.replicates=2", "editing.share=0.5", "editing.decay=0.8")
    long, short = (chain(*words, f"model.segment_length={length}") for length in (5, 1))
    assert errors(long).tolist() == errors(short).tolist()


def test_chains_without_an_edit_have_their_keys(chain):
    plain, none, edited = (
        chain(*words, execute=False).generations() for words in (WORDS, (*WORDS, "editing=none"), EDITED)
    )
    assert [each.artifacts for each in plain] == [each.artifacts for each in none]
    assert plain[0].artifacts["model"] == edited[0].artifacts["model"]
    assert plain[1].artifacts["model"] != edited[1].artifacts["model"]


GAUSSIAN = ("experiment=paper_gaussian",)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((*EDITED, "model.features=fresh"), "editing.name: 'label_resampling' edits the labels of the real features"),
        ((*EDITED, "model.synthesis=statistics"), "editing.name: 'label_resampling' edits rows, of which sums say"),
        ((*EDITED, "regime=grown_replace"), "editing.name: 'label_resampling' gives as many rows as are real, and"),
        (
            (*GAUSSIAN, "editing=label_resampling"),
            "editing.name: 'label_resampling' edits labels, which model.family=gaussian does not have; choose",
        ),
        (
            (*WORDS, "editing=token_resampling"),
            "editing.name: 'token_resampling' edits tokens, which model.family=linear_regression does not have",
        ),
        ((*EDITED, "editing.share=1.5"), "editing.share: 1.5 is not allowed"),
    ],
)
def test_what_is_refused_is_one_message(compose_values, words, expected):
    from modelcollapse.config.settings import read_chain_settings

    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*words))
    (problem,) = caught.value.problems
    assert problem.startswith(expected)
