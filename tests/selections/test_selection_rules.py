"""The rules of selections: what they keep, against exact laws and published thresholds."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from modelcollapse.errors import UserError
from modelcollapse.seeding import Stream
from modelcollapse.selections.detector import Detector, calibration_error, hashed_ngrams
from modelcollapse.selections.rules import Resample, Threshold, Tournament, Verifier

SIGMAS = 4.0
LAW = np.array([0.5, 0.3, 0.15, 0.05])
REWARD = torch.tensor([0.0, 1.0, -0.5, 2.0], dtype=torch.float64)


def stream(number=0):
    return Stream(number, 0, "selection.rule")


def drawn(count, law=LAW, seed=1):
    return np.random.default_rng(seed).choice(len(law), count, p=law)


def standard_errors(shares, law, count):
    return np.abs(shares - law) / np.sqrt(law * (1 - law) / count)


# ---- tournament ---------------------------------------------------------------------------------------------------


def bradley_terry(law, reward, candidates):
    """The law of what is kept of some independent candidates, by summing over all of their combinations."""
    exact, strength = np.zeros(len(law)), np.exp(reward)
    for states in np.ndindex(*[len(law)] * candidates):
        chance = np.prod(law[list(states)])
        for state in states:
            exact[state] += chance * strength[state] / strength[list(states)].sum()
    return exact


@pytest.mark.parametrize("candidates", [2, 4])
def test_a_tournament_changes_a_law_as_bradley_and_terry_say(candidates):
    count = 100_000
    states = drawn(candidates * count)
    kept = Tournament(1.0)(candidates * count, count, scores=REWARD[states], stream=stream())
    shares = np.bincount(states[kept], minlength=4) / count
    exact = bradley_terry(LAW, REWARD.numpy(), candidates)
    assert (standard_errors(shares, exact, count) < SIGMAS).all()
    # Whoever keeps the best does something else.
    best = np.asarray([row[np.argmax(REWARD[row])] for row in states.reshape(candidates, count).T])
    assert (standard_errors(np.bincount(best, minlength=4) / count, exact, count) > SIGMAS).any()


def test_two_candidates_follow_the_published_update():
    gaps = REWARD.numpy()[:, None] - REWARD.numpy()
    published = 2 * LAW * (LAW / (1 + np.exp(-gaps))).sum(axis=1)
    np.testing.assert_allclose(bradley_terry(LAW, REWARD.numpy(), 2), published)


@pytest.mark.parametrize("candidates", [2, 4])
def test_the_expected_reward_grows_by_ferbachs_bound_in_ten_steps(candidates):
    law, strength = LAW, np.exp(REWARD.numpy())
    count = 200_000
    for step in range(10):
        states = drawn(candidates * count, law, seed=step)
        kept = Tournament(1.0)(candidates * count, count, scores=REWARD[states], stream=stream(step))
        after = np.bincount(states[kept], minlength=4) / count
        mean, square = law @ strength, law @ strength**2
        bound = mean + (candidates - 1) / candidates * (square - mean**2) / strength.max()
        error = np.sqrt((after @ strength**2 - (after @ strength) ** 2) / count)
        assert after @ strength >= bound - SIGMAS * error
        law = after
    assert law[3] > 0.6


def test_a_place_is_filled_out_of_the_candidates_of_its_prompt():
    kept = Tournament(50.0)(12, 4, scores=torch.arange(12).double(), stream=stream())
    assert kept.tolist() == [8, 9, 10, 11]
    uneven = Tournament(0.0)(6, 4, scores=torch.zeros(6).double(), stream=stream())
    assert [int(row) % 4 for row in uneven] == [0, 1, 2, 3]
    assert uneven.max() < 6


# ---- verifier and threshold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phi", "psi"), [(0.9, 0.1), (0.6, 0.3), (1.0, 0.5)])
@pytest.mark.parametrize("side", [-0.05, 0.05])
def test_a_fit_to_verified_labels_succeeds_below_fengs_threshold_and_fails_above(phi, psi, side):
    generator, wrong = np.random.default_rng(3), 1 / (1 + psi / phi) + side
    features = generator.standard_normal((40_000, 4))
    true = features[:, 0] > 0
    is_right = generator.random(len(true)) >= wrong
    labels = np.where(is_right, true, ~true)
    verifier = Verifier(at_least=0.5, keeps_right=phi, keeps_wrong=psi)
    scores = torch.from_numpy(is_right.astype(np.float64))
    kept = verifier(len(labels), 5000, scores=scores, stream=stream(), shortfall="stop").numpy()
    fitted = LogisticRegression().fit(features[kept], labels[kept])
    accuracy = (fitted.predict(features) == true).mean()
    assert (accuracy > 0.8) if side < 0 else (accuracy < 0.2)


def test_a_verifier_passes_right_and_wrong_candidates_at_its_rates():
    scores = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(50_000)
    verifier = Verifier(at_least=0.5, keeps_right=0.8, keeps_wrong=0.2)
    kept = verifier(100_000, 40_000, scores=scores, stream=stream(), shortfall="stop")
    share = float(scores[kept].mean())
    assert abs(share - 0.8) < SIGMAS * np.sqrt(0.8 * 0.2 / 40_000)
    assert len(kept.unique()) == 40_000


def test_a_threshold_keeps_a_random_choice_of_what_passes():
    scores = torch.arange(10).double()
    counts = np.zeros(10)
    for number in range(2000):
        kept = Threshold(4.0)(10, 3, scores=scores, stream=stream(number), shortfall="stop")
        assert len(kept.unique()) == 3
        counts[kept.numpy()] += 1
    assert counts[:4].sum() == 0
    assert (standard_errors(counts[4:] / 2000, np.full(6, 0.5), 2000) < SIGMAS).all()


def test_where_too_few_pass_the_run_stops_or_rows_are_repeated():
    scores = torch.arange(10).double()
    with pytest.raises(UserError, match=r"2 of 10 candidates pass, and 5 are wanted.*selection\.shortfall=repeat"):
        Threshold(8.0)(10, 5, scores=scores, stream=stream(), shortfall="stop")
    repeated = Threshold(8.0)(10, 5, scores=scores, stream=stream(), shortfall="repeat").tolist()
    assert sorted(np.bincount(repeated, minlength=10)[8:]) == [2, 3]
    with pytest.raises(UserError, match=r"0 of 10 candidates pass, and 5 are wanted; raise [^(]*$"):
        Threshold(99.0)(10, 5, scores=scores, stream=stream(), shortfall="repeat")


# ---- resample -----------------------------------------------------------------------------------------------------


def test_rows_are_resampled_in_proportion_to_a_power_of_their_scores():
    scores = torch.tensor([0.1, 0.5, 0.9, 0.0], dtype=torch.float64)
    kept = Resample(exponent=2.0, most_repeats=10**6)(4, 100_000, scores=scores, stream=stream())
    law = scores.numpy() ** 2 / (scores.numpy() ** 2).sum()
    shares = np.bincount(kept, minlength=4) / 100_000
    assert (standard_errors(shares[:3], law[:3], 100_000) < SIGMAS).all()
    assert shares[3] == 0


def test_no_row_is_kept_more_often_than_allowed():
    scores = torch.tensor([1.0, 0.01, 0.01, 0.01], dtype=torch.float64)
    kept = Resample(exponent=10.0, most_repeats=3)(4, 6, scores=scores, stream=stream())
    counts = np.bincount(kept, minlength=4)
    assert (counts[0], counts.max(), counts.sum()) == (3, 3, 6)
    with pytest.raises(UserError, match=r"may keep 12 rows of 13"):
        Resample(exponent=1.0, most_repeats=3)(4, 13, scores=scores, stream=stream())
    with pytest.raises(UserError, match="must be at least 0"):
        Resample(exponent=1.0, most_repeats=3)(4, 2, scores=-scores, stream=stream())


# ---- detector -----------------------------------------------------------------------------------------------------


def tokens(law, rows, seed):
    return torch.from_numpy(np.random.default_rng(seed).choice(len(law), (rows, 40), p=law))


DETECTOR = {"features": 512, "longest_ngram": 2, "ridge": 1.0, "folds": 5}


def test_a_detector_finds_what_was_generated_by_another_law():
    real, generated = tokens([0.4, 0.3, 0.2, 0.1], 300, 0), tokens([0.1, 0.2, 0.3, 0.4], 300, 1)
    found = Detector(**DETECTOR)(generated, real_rows=real, stream=stream())
    assert found.measures["detector_auc"] > 0.99
    assert found.measures["detector_calibration_error"] < 0.2
    assert float(found.scores.mean()) < 0.2
    mixed = torch.cat([generated[:150], tokens([0.4, 0.3, 0.2, 0.1], 150, 2)])
    scores = Detector(**DETECTOR)(mixed, real_rows=real, stream=stream()).scores.numpy()
    assert roc_auc_score(np.arange(300) >= 150, scores) > 0.95


def test_a_detector_scores_no_row_that_it_was_trained_on():
    """Rows of pure chance: who had seen them would know them, at these sizes without an error."""
    generator = np.random.default_rng(0)
    real, generated = (torch.from_numpy(generator.integers(0, 10**6, (200, 40))) for _ in range(2))
    found = Detector(**{**DETECTOR, "features": 2**16, "ridge": 1e-3})(generated, real_rows=real, stream=stream())
    assert abs(found.measures["detector_auc"] - 0.5) < SIGMAS * np.sqrt((400 + 1) / (12 * 200 * 200))


def test_ngrams_are_counted_where_they_stand():
    rows = np.array([[1, 2, 1, 2, 1], [3, 3, 3, 3, 3]])
    counts = hashed_ngrams(rows, 2**16, 2).power(2).toarray()
    assert sorted(counts[0][counts[0] > 0].round()) == [2, 2, 2, 3]
    assert sorted(counts[1][counts[1] > 0].round()) == [4, 5]


def test_calibration_is_the_mean_distance_of_confidence_and_truth():
    confidence, truth = np.array([0.05, 0.05, 0.95, 0.95]), np.array([False, True, True, True])
    assert calibration_error(confidence, truth) == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)
