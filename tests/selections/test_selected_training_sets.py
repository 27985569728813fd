"""Chains that select from training sets: what is kept, what the fit is trained on, and what is refused."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_selected_chains import SAMPLED, VAE, N, folder, problems

from conftest import run_chain_of
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.data.blocks import read_blocks
from modelcollapse.errors import UserError
from modelcollapse.families.language_model.training_set import composed_blocks
from modelcollapse.registry import Member, register, registry
from modelcollapse.seeding import Stream
from modelcollapse.selections.choosing import SCORES_FILE
from modelcollapse.selections.detector import Detector
from modelcollapse.selections.kept import KEPT_FILE, read_kept
from modelcollapse.selections.rules import Resample
from modelcollapse.selections.training_sets import selected
from modelcollapse.settings import SettingsError

TRAINING_SET = ("selection.scope=training_set", "selection.oversampling=1")
ACCUMULATED = (*SAMPLED, "regime=accumulate")
"""D_1 is all N real blocks, then the N blocks that model 0 wrote."""


@pytest.fixture(scope="module")
def drayson(tmp_path_factory):
    place = tmp_path_factory.mktemp("drayson")
    return run_chain_of((*ACCUMULATED, "selection=drayson"), place / "store", place / "run")


@dataclass(frozen=True)
class Told:
    """Likes synthetic rows, or real ones, by what it is told they are."""

    likes_synthetic: bool = False

    def __call__(self, candidates, *, is_synthetic):
        assert len(is_synthetic) == len(candidates)
        return (is_synthetic == self.likes_synthetic).double()


@pytest.fixture
def told():
    register(Member("scorers", "told", Told, settings=Told, options={"needs": ("is_synthetic",)}, origin="test"))
    yield
    del registry("scorers")._members["told"]


# ---- what is kept -----------------------------------------------------------------------------------------------


def test_a_training_set_is_resampled_with_its_real_rows(drayson):
    kept = read_kept(folder(drayson, 1, "selected_rows"))
    scores = load_file(folder(drayson, 1, "candidate_scores") / SCORES_FILE)["scores"]
    assert (len(scores), len(kept.rows)) == (2 * N, 3 * N)
    assert 0 <= kept.rows.min() < N <= kept.rows.max() < 2 * N
    assert torch.bincount(kept.rows).max() <= 3
    # A row that is three times as likely as another to be drawn is drawn more often.
    weights = scores**10
    assert weights[kept.rows].mean() > weights.mean()


def test_the_set_that_is_written_is_whole(drayson):
    for generation in drayson.generations():
        assert "candidates" not in generation.artifacts
        assert generation.artifacts["synthetic"].kind == "synthetic"
    assert len(read_blocks(folder(drayson, 1, "synthetic"), "blocks")) == N


def test_the_record_says_what_was_kept_of_the_generations_training_set(drayson):
    first, second = drayson.lines()
    assert not any(name.startswith("selection/") for name in first)
    kept = read_kept(folder(drayson, 1, "selected_rows")).rows
    assert second["selection/kept_share"] == len(kept.unique()) / (2 * N)
    assert second["selection/mean_score_kept"] > second["selection/mean_score_candidates"]
    assert 0 <= second["selection/detector_auc"] <= 1
    assert {"selection/threshold", "selection/detector_calibration_error"} <= set(second)


def test_the_fit_of_a_generation_stands_on_the_selected_rows_and_generation_0_on_none(drayson):
    first, second = (generation.artifacts for generation in drayson.generations())
    assert second["model"].parents["selected_rows"] == second["selected_rows"]
    assert second["selected_rows"].parents["synthetic_0"] == first["synthetic"]
    assert "selected_rows" not in first["model"].parents


def test_a_fit_to_the_real_rows_of_its_training_set_is_the_fit_to_real_rows(chain, told):
    """So what is trained on are the kept places, in their order: network and losses are those of another regime."""
    words = (*TRAINING_SET, "selection=top", "selection.size=0.5", "selection.scorer={name: told}")
    kept, real = (chain(*SAMPLED, *more) for more in (("regime=accumulate", *words), ("regime=real",)))
    assert read_kept(folder(kept, 1, "selected_rows")).rows.tolist() == list(range(N))
    networks = [folder(run, 1, "model") / "model.safetensors" for run in (kept, real)]
    assert networks[0].read_bytes() == networks[1].read_bytes()
    assert kept.generations()[0].artifacts == real.generations()[0].artifacts


def test_a_place_weighs_as_much_as_row_and_rule_say_together(tmp_path):
    from safetensors.torch import save_file

    places = {"rows": torch.tensor([0, 2, 2]), "weights": torch.tensor([1.5, 0.5, 1.0], dtype=torch.float64)}
    save_file(places, tmp_path / KEPT_FILE)
    rows, weights = torch.tensor([[10], [11], [12]]), torch.tensor([0.5, 1.0, 1.5])
    of_places, weighed = selected(rows, weights, {"selected_rows": tmp_path})
    assert of_places.flatten().tolist() == [10, 12, 12]
    assert weighed.tolist() == pytest.approx([0.75, 0.75, 1.5])


def test_images_are_selected_from_real_and_synthetic_ones(chain):
    run = chain(*VAE, "regime=accumulate", "selection=top", *TRAINING_SET, "selection.size=0.5")
    scores = load_file(folder(run, 1, "candidate_scores") / SCORES_FILE)["scores"].numpy()
    kept = read_kept(folder(run, 1, "selected_rows")).rows.numpy()
    assert len(scores) == 80
    assert (kept == np.sort(np.argsort(-scores, kind="stable")[:40])).all()
    assert kept.min() < 40
    assert run.lines()[1]["selection/kept_share"] == 0.5
    assert run.lines()[1]["selection/threshold"] == scores[kept].min()
    assert "selection/kept_share" not in run.lines()[0]
    assert run.generations()[1].artifacts["model"].parents["selected_rows"].kind == "selected_rows"


def test_resampling_draws_in_proportion_to_the_power_of_known_confidences():
    """Drayson's weights: with confidences c, rows are drawn with probability (1 - c)^10 / sum (1 - c)^10."""
    confidences = torch.tensor([0.05, 0.1, 0.15, 0.3], dtype=torch.float64).repeat(20_000)
    places = Resample(10.0, 10**6)(len(confidences), 120_000, scores=1 - confidences, stream=Stream(0, 1, "rule"))
    shares = np.bincount(places % 4, minlength=4) / len(places)
    law = np.array([0.95, 0.9, 0.85, 0.7]) ** 10
    law /= law.sum()
    assert (np.abs(shares - law) < 4 * np.sqrt(law * (1 - law) / len(places))).all()


def test_a_training_set_that_is_used_again_is_what_was_kept_of_it(chain, told):
    """Of D_1 the real half is kept, so the half of D_2 that is used again is real, and kept again."""
    words = ("regime=general", "regime.alpha=0.5", "regime.beta=0.5", "regime.gamma=0", "generations=2")
    words = (*words, "selection=top", "selection.scorer={name: told}", *TRAINING_SET, "selection.size=0.5")
    run = chain(*SAMPLED, *words)
    second = run.generations()[2].artifacts["model"]
    assert second.parents["training_1"] == run.generations()[1].artifacts["selected_rows"]
    blocks = []
    for generation in run.generations()[1:]:
        folders = {role: run.store.folder(each) for role, each in generation.artifacts["model"].parents.items()}
        draws = generation.artifacts["model"].build.args[2]["draws"]
        rows, weights = selected(*composed_blocks(draws, folders, N), folders)
        assert (weights == 1).all()
        blocks.append(sorted(rows.tolist()))
    assert len(blocks[0]) == N // 2
    assert blocks[0] == blocks[1]


# ---- the detector -----------------------------------------------------------------------------------------------


def detected(real, candidates, is_synthetic):
    detector = Detector(features=4096, longest_ngram=2, ridge=0.01, folds=5)
    given = {"real_rows": torch.from_numpy(real), "is_synthetic": torch.tensor(is_synthetic)}
    return detector(torch.from_numpy(candidates), stream=Stream(0, 1, "scores"), **given)


def test_real_rows_of_a_training_set_are_scored_by_detectors_that_have_not_seen_them():
    """Of one law all, with far more features than rows: a detector that has seen a real row knows it by heart."""
    generator = np.random.default_rng(3)
    real, written = generator.integers(0, 50, (2, 400, 8))
    # Some real rows stand twice, as those of a draw and a pool may, and a written one is a copy of a real one.
    written[0] = real[0]
    candidates = np.concatenate([real, real[:50], written])
    scores = detected(real, candidates, [False] * 450 + [True] * 400).scores.numpy()
    of_real, of_written = scores[:400], scores[450:]
    error = np.sqrt(of_real.var() / 400 + of_written.var() / 400)
    assert abs(of_real.mean() - of_written.mean()) < 4 * error
    assert (scores[400:450] == scores[:50]).all()
    # Real rows of the training set are scored, and no more: the others' detector is the same without them.
    alone = detected(real, written, [True] * 400)
    assert (alone.scores.numpy() == of_written).all()
    assert alone.measures == detected(real, candidates, [False] * 450 + [True] * 400).measures


def test_a_detector_finds_synthetic_rows_among_those_of_a_training_set():
    generator = np.random.default_rng(4)
    real, fresh, written = (generator.integers(low, 50, (200, 8)) for low in (0, 0, 20))
    found = detected(real, np.concatenate([fresh, written]), [False] * 200 + [True] * 200)
    assert found.scores[:200].mean() > found.scores[200:].mean() + 0.3
    assert found.measures["detector_auc"] > 0.9


def test_too_few_rows_to_be_told_apart_are_one_message():
    real = np.arange(80).reshape(10, 8)
    with pytest.raises(UserError, match="too few of either"):
        detected(real, real[:1] + 100, [True])


# ---- keys -------------------------------------------------------------------------------------------------------


def test_a_random_choice_of_the_whole_training_set_is_no_selection(chain):
    plain, random = (
        chain(*ACCUMULATED, *more, execute=False).generations() for more in ((), ("selection=random", *TRAINING_SET))
    )
    assert [generation.artifacts for generation in random] == [generation.artifacts for generation in plain]


def test_scores_are_shared_by_rules_and_sizes(drayson, chain):
    words = ("selection=drayson", "selection.size=1.0", "selection.rule.exponent=2.0")
    other = chain(*ACCUMULATED, *words, execute=False).generations()[1].artifacts
    ours = drayson.generations()[1].artifacts
    assert other["candidate_scores"] == ours["candidate_scores"]
    assert other["selected_rows"] != ours["selected_rows"]
    assert other["model"] != ours["model"]


def test_a_generations_own_confidence_is_that_of_the_model_before(chain):
    words = ("selection=top", "selection/scorer=confidence", *TRAINING_SET, "generations=2")
    generations = chain(*ACCUMULATED, *words, execute=False).generations()
    assert generations[2].artifacts["candidate_scores"].parents["writer"] == generations[1].artifacts["model"]


# ---- refused ----------------------------------------------------------------------------------------------------

DRAYSON = (*SAMPLED, "selection=drayson")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            (*DRAYSON, "selection.oversampling=2"),
            "selection.oversampling: 2 is of no use with selection.scope=training",
        ),
        ((*DRAYSON, "selection.within=prompt"), "selection.within: 'prompt' is not allowed with selection.scope="),
        ((*DRAYSON, "selection.size=4"), "selection.size: 4 times the rows are more than the rule 'resample' keeps"),
        ((*DRAYSON, "selection.size=0"), "selection.size: 0 is not allowed"),
        ((*DRAYSON, "regime=golden_ratio"), "selection.scope: 'training_set' is not allowed with regime.weighting="),
        (
            (*DRAYSON, "regime=real"),
            "selection.scorer: 'detector' tells synthetic rows from real ones, and regime=real",
        ),
        (
            (*SAMPLED, "selection=top", *TRAINING_SET, "selection.size=1.5"),
            "selection.size: 1.5 times the rows are more than the rule 'top' keeps, each at most once; it must be at",
        ),
        (
            (*SAMPLED, "selection=top", "selection.size=1.5"),
            "selection.size: 1.5 is of no use with selection.scope=syn",
        ),
        ((*SAMPLED, "selection.size=1.5"), "selection.size: 1.5 is of no use with selection.scope=synthetic"),
        ((*SAMPLED, "selection.scope=training_set"), "selection.scope: 'training_set' is of no use without a rule"),
        (
            (*VAE, "model.synthesis=stream", "selection=drayson"),
            "selection.rule: 'resample' is not allowed with model.synthesis=stream, which stores no images",
        ),
    ],
)
def test_what_goes_together_with_nothing_is_one_message(compose_values, overrides, expected):
    (problem,) = problems(compose_values, *overrides)
    assert problem.startswith(expected)


def test_only_rows_of_training_sets_are_real_or_synthetic(compose_values, told):
    (problem,) = problems(compose_values, *SAMPLED, "selection=top", "selection.scorer={name: told}")
    assert problem.startswith("selection.scorer: 'told' needs is_synthetic, which model.family=language_model")


def test_a_rule_that_repeats_rows_may_keep_more_than_there_are(compose_values):
    words = ("selection=threshold", "selection.rule.at_least=-50", "selection.shortfall=repeat", *TRAINING_SET)
    settings = read_chain_settings(compose_values(*SAMPLED, *words, "selection.size=2"))
    assert settings.selection.selects_training_sets
    with pytest.raises(SettingsError, match=r"or selection\.shortfall repeat"):
        read_chain_settings(compose_values(*SAMPLED, *words, "selection.size=2", "selection.shortfall=stop"))
