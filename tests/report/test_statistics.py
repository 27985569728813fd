"""Means and their intervals: against scipy, against simulation, and at the edges."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelcollapse.report.statistics import BOOTSTRAP, BOOTSTRAP_FROM, NONE, STUDENT, describe, pool

NUMBERS = st.floats(-1e6, 1e6)


def test_a_few_values_by_hand():
    described = describe(np.array([[1.0, 2.0, 6.0]]))
    # sd = sqrt(7); t(0.975, 2) = 4.302653
    assert described.mean[0] == 3
    assert described.standard_deviation[0] == pytest.approx(7**0.5)
    half = 4.302652729911275 * (7 / 3) ** 0.5
    assert [described.low[0], described.high[0]] == pytest.approx([3 - half, 3 + half])
    assert (described.n[0], described.interval[0]) == (3, STUDENT)


def test_one_value_has_no_interval_and_no_deviation():
    described = describe(np.array([[5.0]]))
    assert (described.mean[0], described.n[0], described.interval[0]) == (5, 1, NONE)
    assert np.isnan([described.standard_deviation[0], described.low[0], described.high[0]]).all()


def test_no_value_is_no_mean():
    described = describe(np.array([[np.nan, np.inf]]))
    assert described.n[0] == 0
    assert np.isnan(described.mean[0])


@pytest.mark.parametrize("count", [3, 20])
def test_values_that_are_not_finite_are_left_out(count):
    values = np.random.default_rng(0).normal(size=(4, count))
    holes = np.insert(np.insert(values, 1, np.nan, axis=1), 0, -np.inf, axis=1)
    whole, with_holes = vars(describe(values)), vars(describe(holes))
    assert (whole.pop("interval") == with_holes.pop("interval")).all()
    for name in whole:
        np.testing.assert_allclose(whole[name], with_holes[name], rtol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5, 14])
def test_the_interval_of_normal_values_holds_their_mean_in_95_percent(count):
    described = describe(np.random.default_rng(1).normal(7, 3, size=(20_000, count)))
    covered = ((described.low <= 7) & (described.high >= 7)).mean()
    # The standard error of a share of 0.95 over 20,000 is 0.0015.
    assert covered == pytest.approx(0.95, abs=0.006)
    assert set(described.interval) == {STUDENT}


def test_the_bootstrap_covers_about_as_well():
    normal = np.random.default_rng(2).normal(size=(2_000, 30))
    described = describe(normal)
    assert set(described.interval) == {BOOTSTRAP}
    # BCa is a little short for few values: about 0.93 at n = 30.
    assert 0.91 < ((described.low <= 0) & (described.high >= 0)).mean() < 0.96


def test_the_bootstrap_agrees_with_scipy_for_skewed_values():
    from scipy import stats

    values = np.random.default_rng(3).exponential(size=40)
    described = describe(values[None])
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=4).confidence_interval
    width = theirs.high - theirs.low
    assert described.low[0] == pytest.approx(theirs.low, abs=0.06 * width)
    assert described.high[0] == pytest.approx(theirs.high, abs=0.06 * width)
    # Skewed to the right: the interval reaches further up than down, which Student's would not.
    assert described.high[0] - values.mean() > 1.1 * (values.mean() - described.low[0])


def test_the_bootstrap_of_equal_values_is_a_point_and_repeats_itself():
    described = describe(np.full((1, 20), 3.0))
    assert (described.low[0], described.high[0]) == (3, 3)
    values = np.random.default_rng(5).normal(size=(3, 20))
    np.testing.assert_array_equal(describe(values).low, describe(values).low)


@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(2, BOOTSTRAP_FROM + 3)), elements=NUMBERS))
@example(np.full((1, 15), 2.07437753e-122))
def test_the_mean_lies_within_its_interval_and_shifting_shifts_all(values):
    described, shifted = describe(values), describe(values + 1000)
    scale = 1e-9 * (np.abs(values).max() + 1000)
    assert (described.low <= described.mean + scale).all()
    assert (described.mean <= described.high + scale).all()
    np.testing.assert_allclose(shifted.mean, described.mean + 1000, atol=scale)
    np.testing.assert_allclose(shifted.high - shifted.low, described.high - described.low, atol=100 * scale)


def test_pairing_removes_what_a_seed_does_to_both():
    random = np.random.default_rng(6)
    seeds = 100 * random.normal(size=(2_000, 4))
    first, second = (seeds + random.normal(scale=0.1, size=seeds.shape) for _ in range(2))
    differences = describe(second + 1 - first)
    apart = describe(first)
    assert (differences.high - differences.low).mean() < 0.01 * (apart.high - apart.low).mean()
    assert ((differences.low <= 1) & (differences.high >= 1)).mean() == pytest.approx(0.95, abs=0.02)


def test_pooled_replicates_have_the_statistics_of_all_of_them_together():
    replicates = np.random.default_rng(7).gamma(2, size=(5, 3, 12))
    pooled = pool(replicates.mean(axis=2), replicates.std(axis=2, ddof=1), 12)
    together = replicates.reshape(5, 36)
    np.testing.assert_allclose(pooled.mean, together.mean(axis=1))
    np.testing.assert_allclose(pooled.standard_deviation, together.std(axis=1, ddof=1))
    assert set(pooled.n) == {36}
    assert set(pooled.interval) == {STUDENT}


def test_a_chain_without_a_finite_mean_is_left_out_with_its_replicates():
    means, deviations = np.array([[1.0, np.inf, 3.0]]), np.array([[0.5, np.nan, 0.5]])
    pooled = pool(means, deviations, 10)
    assert (pooled.n[0], pooled.mean[0]) == (20, 2.0)
