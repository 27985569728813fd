"""Chains whose selection has a theory: the threshold of verified labels, and rewards that grow by curation."""

import numpy as np
import pytest
import torch

from conftest import TINY, TINY_VAE
from modelcollapse.errors import UserError
from modelcollapse.families.estimators.estimator import SegmentStates
from modelcollapse.seeding import Stream
from modelcollapse.selections.image_class import ImageClass

ESTIMATOR = ("decoding=none", "tracking=none", "trainer.threads=1")
PHI, PSI = 0.8, 0.4
THRESHOLD = 1 / (1 + PSI / PHI)


@pytest.mark.parametrize(("wrong", "succeeds"), [(THRESHOLD - 0.05, True), (THRESHOLD + 0.05, False)])
def test_labels_can_be_learnt_after_a_verifier_below_the_threshold_and_not_above(chain, wrong, succeeds):
    """Feng et al. (arXiv 2406.07515): flips independent of the features, an oracle that errs by phi and psi."""
    run = chain(
        *(
            *ESTIMATOR,
            "model=logistic_regression",
            "data=logistic_samples",
            "model.ridge=0.00001",
            "model.features=fresh",
        ),
        *("data.rows=3000", "data.dimension=3", "data.signal=30", "model.replicates=10", f"model.flipped={wrong}"),
        *("selection=verifier", "selection/scorer=oracle", "selection.rule.at_least=1", "generations=1"),
        *(f"selection.rule.keeps_right={PHI}", f"selection.rule.keeps_wrong={PSI}"),
    )
    first, second = run.lines()
    assert first["disagreement/p95"] < 0.05
    # Of a label that says nothing the angle to the truth would be uniform.
    ends = second["disagreement/p95"] if succeeds else 1 - second["disagreement/p05"]
    assert ends < 0.3
    # Labels of a steep model are right but for what is flipped; what passes is right by the verifier's odds.
    right = first["selection/mean_score_candidates/mean"]
    assert right == pytest.approx(1 - wrong, abs=0.02)
    share, rows = right * PHI / (right * PHI + (1 - right) * PSI), 10 * 3000
    error = 4 * np.sqrt(share * (1 - share) / rows)
    assert first["selection/mean_score_kept/mean"] == pytest.approx(share, abs=error)
    # The record counts both: of the candidates, and of what is kept of them.
    counted = [
        first[f"selection/{name}/mean"] for name in ("right_kept", "right_not_kept", "wrong_kept", "wrong_not_kept")
    ]
    assert sum(counted) == pytest.approx(4 * 3000)
    assert counted[0] == pytest.approx(3000 * first["selection/mean_score_kept/mean"])
    assert counted[0] + counted[1] == pytest.approx(4 * 3000 * right)


K, N, R = 4, 200, 40
BEST = 10**6


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """The same Gaussian chain, curated by the Bradley-Terry model and by choosing the best."""
    from conftest import run_chain_of

    words = (*ESTIMATOR, "model=gaussian", "data=gaussian_samples", "model.synthesis=samples", f"data.rows={N}")
    words = (*words, f"model.replicates={R}", "generations=3", "selection=tournament", "selection/scorer=distance")
    words = (*words, f"selection.oversampling={K}", "selection.scorer.point=[1.5]")
    runs = {}
    for sharpness in (1, BEST):
        place = tmp_path_factory.mktemp(f"sharpness_{sharpness}")
        runs[sharpness] = run_chain_of((*words, f"selection.rule.sharpness={sharpness}"), place / "s", place / "r")
    return runs


def rewards(rows):
    """exp(r) of rows [R, rows, 1], r minus the distance to the point."""
    return (-(rows - 1.5).abs()).exp()[..., 0]


def sets(run, generation):
    """The candidates [R, K N, 1] and what was kept of them [R, N, 1]."""
    folders = {role: run.store.folder(each) for role, each in run.generations()[generation].artifacts.items()}
    folders["start"] = run.store.folder(run.generations()[0].artifacts["model"])
    state = SegmentStates.read(folders["model"]).state(generation)
    candidates = run.family.build_estimator().draw(state, K * N, Stream(0, generation, "synthesis"))
    return candidates, run.family.load_synthetic(generation, folders)


@pytest.mark.parametrize("generation", [0, 1, 2, 3])
def test_the_expected_reward_grows_by_curation_at_least_as_the_theory_has_it(curated, generation):
    """E'[exp(r)] - E[exp(r)] >= (K - 1) / K Var[exp(r)] / exp(max r), Ferbach et al. (arXiv 2407.09499)."""
    candidates, kept = map(rewards, sets(curated[1], generation))
    bound = (K - 1) / K * candidates.var(1)
    beyond = kept.mean(1) - candidates.mean(1) - bound
    assert beyond.mean() > -4 * beyond.std() / np.sqrt(R)
    # It is no bound of nothing: the reward grows.
    assert (kept.mean(1) - candidates.mean(1)).mean() > 4 * (kept.mean(1) - candidates.mean(1)).std() / np.sqrt(R)


def test_choosing_the_best_rewards_more_and_keeps_less(curated):
    for generation in (0, 1, 2, 3):
        (of_all, kept), (_, best) = (map(rewards, sets(curated[each], generation)) for each in (1, BEST))
        assert best.mean() > kept.mean() > of_all.mean()
    spreads = {each: run.lines()[3]["variance/mean"] for each, run in curated.items()}
    assert spreads[BEST] < spreads[1]


def test_the_best_of_a_tournament_is_the_nearest_of_its_entrants(curated):
    candidates, kept = sets(curated[BEST], 0)
    entrants = candidates.view(R, K, N)
    nearest = (entrants - 1.5).abs().amin(1)
    # What is left of chance at this sharpness.
    torch.testing.assert_close((kept[..., 0] - 1.5).abs(), nearest, rtol=0, atol=1e-4)


# ---- language, images -----------------------------------------------------------------------------------------


def test_selection_by_true_likelihood_is_the_exact_calculation_on_the_built_in_language(chain):
    from modelcollapse.data import data_of
    from modelcollapse.data.blocks import read_blocks
    from modelcollapse.selections.kept import read_kept

    words = (*TINY, "decoding.kind=sample", "decoding.beams=1", "generations=0", "selection=top")
    run = chain(*words, "selection/scorer=true_likelihood")
    artifacts = run.generations()[0].artifacts
    blocks = read_blocks(run.store.folder(artifacts["candidates"]), "blocks").numpy()
    language = data_of(run.settings.data).truth()
    # The probability of a block by the sum over all paths of hidden states, one matrix product a word.
    exact = np.empty(len(blocks))
    for place, block in enumerate(blocks):
        state, exact[place] = language.initial, 0.0
        for number, word in enumerate(block):
            state = (state if number == 0 else state @ language.transition) * language.emission[:, word]
            exact[place] += np.log(state.sum())
            state = state / state.sum()
    kept = read_kept(run.store.folder(artifacts["synthetic"])).rows.tolist()
    assert kept == sorted(np.argsort(-exact, kind="stable")[: len(blocks) // 2].tolist())


def test_the_longest_texts_are_kept(chain):
    from modelcollapse.data.blocks import read_blocks

    words = (*TINY, "decoding.kind=sample", "decoding.beams=1", "generations=0", "selection=top")
    run = chain(*words, "selection/scorer=length")
    artifacts = run.generations()[0].artifacts
    texts = run.family.load_synthetic(
        0,
        {
            "synthetic": run.store.folder(artifacts["synthetic"]),
            "tokenizer": run.store.folder(run.family.inputs()["tokenizer"]),
        },
    )
    kept = sorted(len(text) for text in texts)
    blocks = read_blocks(run.store.folder(artifacts["candidates"]), "blocks")
    tokenizer = texts.tokenizer
    lengths = sorted(len(text) for text in tokenizer.batch_decode(blocks))
    assert kept == lengths[len(lengths) // 2 :]


def test_images_of_some_classes_are_liked_or_those_that_a_classifier_is_sure_of():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]).log_softmax(1)
    images = torch.zeros(2, 28, 28)
    liked = ImageClass((0, 2))(images, class_log_probabilities=logits)
    torch.testing.assert_close(liked, (logits[:, 0].exp() + logits[:, 2].exp()).log())
    torch.testing.assert_close(ImageClass(())(images, class_log_probabilities=logits), logits.max(1).values)
    with pytest.raises(UserError, match=r"selection.scorer.classes: \[3\] is not allowed; classes count from 0 to 2"):
        ImageClass((3,))(images, class_log_probabilities=logits)


@pytest.mark.slow
def test_images_are_kept_by_what_the_chains_classifier_takes_them_for(chain):
    from modelcollapse.data.images import as_intensities, read_images
    from modelcollapse.families.vae.scoring import load_classifier
    from modelcollapse.selections.kept import read_kept

    words = (*TINY_VAE, "model.synthesis=fixed", "selection=top", "selection/scorer=image_class")
    run = chain(*words, "selection.scorer.classes=[3,8]")
    for generation in run.generations():
        artifacts = generation.artifacts
        candidates = read_images(run.store.folder(artifacts["candidates"]), "train")
        classifier = load_classifier(run.store.folder(artifacts["candidate_scores"].parents["classifier"]))
        with torch.no_grad():
            logits = classifier(as_intensities(candidates))[1].double().log_softmax(1)
        best = logits[:, [3, 8]].logsumexp(1).argsort(descending=True)[: len(candidates) // 2]
        assert read_kept(run.store.folder(artifacts["synthetic"])).rows.tolist() == best.sort().values.tolist()
