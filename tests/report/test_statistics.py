"""Means and their intervals: against scipy, against simulation, and at the edges."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from modelcollapse.families.presentation import Presentation
from modelcollapse.report.chains import Measurements, ReportChain
from modelcollapse.report.groups import Group
from modelcollapse.report.possible import bounds_of, possible_values
from modelcollapse.report.statistics import FEWEST, NONE, STUDENT, TRANSFORMED, describe, pool

NUMBERS = st.floats(-1e6, 1e6)
POSITIVE, SHARE = (0, np.inf), (0, 1)


def test_the_interval_agrees_with_scipy():
    values = np.array([1.0, 2.0, 6.0, 4.0, 3.5])
    described = describe(values[None])
    theirs = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert described.mean[0] == pytest.approx(values.mean())
    assert described.standard_deviation[0] == pytest.approx(values.std(ddof=1))
    assert [described.low[0], described.high[0]] == pytest.approx(theirs)
    assert (described.n[0], described.interval[0]) == (5, STUDENT)


@pytest.mark.parametrize("count", range(1, FEWEST))
def test_few_values_have_no_interval(count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        described = describe(np.arange(1.0, count + 1)[None])
    assert (described.mean[0], described.n[0], described.interval[0]) == ((count + 1) / 2, count, NONE)
    assert np.isnan([described.low[0], described.high[0]]).all()
    assert np.isnan(described.standard_deviation[0]) == (count == 1)


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


@pytest.mark.parametrize("count", [5, 14, 15, 30])
def test_the_interval_of_normal_values_holds_their_mean_in_95_percent(count):
    described = describe(np.random.default_rng(1).normal(7, 3, size=(20_000, count)))
    covered = ((described.low <= 7) & (described.high >= 7)).mean()
    # The standard error of a share of 0.95 over 20,000 is 0.0015.
    assert covered == pytest.approx(0.95, abs=0.006)
    assert set(described.interval) == {STUDENT}


@pytest.mark.parametrize(
    ("draw", "mean", "possible", "least"),
    [
        (lambda random, size: random.lognormal(sigma=0.5, size=size), np.exp(0.125), POSITIVE, 0.925),
        (lambda random, size: 1 + random.exponential(size=size), 2.0, (1, np.inf), 0.90),
        (lambda random, size: random.beta(2, 6, size=size), 0.25, SHARE, 0.94),
        (lambda random, size: random.beta(40, 2, size=size), 40 / 42, SHARE, 0.93),
        (lambda random, size: -random.gamma(3, size=size), -3.0, (-np.inf, 0), 0.93),
    ],
)
@pytest.mark.parametrize("count", [5, 15])
def test_bounded_values_are_covered_at_least_as_well_as_by_the_plain_interval(draw, mean, possible, least, count):
    values = draw(np.random.default_rng(2), (10_000, count))
    covered = {}
    for bounds in (possible, (-np.inf, np.inf)):
        described = describe(values, bounds)
        covered[bounds] = ((described.low <= mean) & (mean <= described.high)).mean()
    assert covered[possible] >= max(least, covered[-np.inf, np.inf] - 0.003)
    described = describe(values, possible)
    assert (described.low >= possible[0]).all()
    assert (described.high <= possible[1]).all()
    assert set(described.interval) == {TRANSFORMED}


def test_far_from_its_bounds_the_interval_is_the_plain_one():
    values = np.random.default_rng(3).normal(1000, 1, size=(3, 8))
    for possible in (POSITIVE, (0, 2000), (-np.inf, 2000)):
        np.testing.assert_allclose(describe(values, possible).low, describe(values).low, rtol=1e-5)
        np.testing.assert_allclose(describe(values, possible).high, describe(values).high, rtol=1e-5)


BOUNDED = {"two bounds": (-1.0, 1.5), "a lower one": (-1.0, np.inf), "an upper one": (-np.inf, 1.5)}


@pytest.mark.parametrize("possible", BOUNDED.values(), ids=BOUNDED)
@pytest.mark.parametrize(("scale", "shift"), [(1e-3, 0.0), (1e3, 0.0), (0.2, 5.0), (0.2, -5.0)])
def test_in_other_units_the_interval_is_the_same(possible, scale, shift):
    values = np.random.default_rng(4).uniform(-0.9, 1.4, size=(4, 6))
    plain, other = (
        describe(values, possible),
        describe(scale * values + shift, [scale * end + shift for end in possible]),
    )
    np.testing.assert_allclose(other.low, scale * plain.low + shift, rtol=1e-9)
    np.testing.assert_allclose(other.high, scale * plain.high + shift, rtol=1e-9)
    mirrored = describe(-values, (-possible[1], -possible[0]))
    np.testing.assert_allclose(mirrored.low, -plain.high, rtol=1e-9)
    np.testing.assert_allclose(mirrored.high, -plain.low, rtol=1e-9)


def test_a_bounded_interval_is_that_of_the_delta_method():
    values = np.array([2.5, 3.0, 4.5, 2.2, 3.1, 2.9])
    half = stats.t.ppf(0.975, 5) * stats.sem(values)
    above, below = values.mean() - 2, 7 - values.mean()
    ratio = half * 5 / (above * below)
    expected = {
        (2, np.inf): [2 + above * np.exp(sign * half / above) for sign in (-1, 1)],
        (-np.inf, 7): [7 - below * np.exp(-sign * half / below) for sign in (-1, 1)],
        (2, 7): [2 + 5 / (1 + below / above * np.exp(-sign * ratio)) for sign in (-1, 1)],
    }
    for possible, ends in expected.items():
        described = describe(values[None], possible)
        assert [described.low[0], described.high[0]] == pytest.approx(ends), possible


@pytest.mark.parametrize("possible", [(3, 4), (-4, 1), (2, np.inf), (-np.inf, 1)])
def test_means_that_are_not_possible_have_the_plain_interval(possible):
    values = np.array([[1.0, 2.0, 1.5, 1.2, 1.8]])
    described, plain = describe(values, possible), describe(values)
    assert (described.low[0], described.high[0]) == (plain.low[0], plain.high[0])


def test_statistics_of_many_places_are_those_of_each():
    values = np.random.default_rng(5).gamma(2, size=(2, 3, 4, 7))
    described = describe(values, POSITIVE)
    means, deviations = values.mean(axis=-1), values.std(axis=-1, ddof=1)
    means[1, 2, 3] = np.nan
    pooled = pool(means, deviations, 7)
    for place in np.ndindex(2, 3):
        for name in ("n", "mean", "standard_deviation", "low", "high"):
            one = getattr(describe(values[place], POSITIVE), name)
            np.testing.assert_allclose(getattr(described, name)[place], one)
            together = getattr(describe(values[place][np.isfinite(means[place])].reshape(1, -1)), name)
            np.testing.assert_allclose(getattr(pooled, name)[place], together[0])


@pytest.mark.parametrize("possible", [POSITIVE, SHARE, (-1, 0), (-np.inf, np.inf), (5, 6)])
def test_equal_values_are_a_point_also_on_a_bound_and_beyond_one(possible):
    described = describe(np.zeros((1, 8)), possible)
    assert (described.low[0], described.mean[0], described.high[0]) == (0, 0, 0)


def test_each_place_has_bounds_of_its_own():
    values = np.tile([0.1, 0.9, 0.9, 0.95, 0.99, 0.3], (2, 3, 1))
    described = describe(values, np.array([SHARE, POSITIVE, (-np.inf, np.inf)], dtype=float))
    assert described.high.shape == (2, 3)
    assert described.high[0, 0] < 1 < described.high[0, 1]
    assert described.low[0, 1] > described.low[0, 2]
    np.testing.assert_array_equal(described.low[0], described.low[1])


@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(2, 18)), elements=NUMBERS))
@example(np.full((1, 15), 2.07437753e-122))
def test_the_mean_lies_within_its_interval_and_shifting_shifts_all(values):
    described, shifted = describe(values), describe(values + 1000)
    scale = 1e-9 * (np.abs(values).max() + 1000)
    enough = described.n >= FEWEST
    assert (described.low <= described.mean + scale)[enough].all()
    assert (described.mean <= described.high + scale)[enough].all()
    np.testing.assert_allclose(shifted.mean, described.mean + 1000, atol=scale)
    np.testing.assert_allclose(shifted.high - shifted.low, described.high - described.low, atol=100 * scale)


@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(5, 18)), elements=st.floats(0, 1)))
def test_an_interval_of_shares_holds_the_mean_and_stays_between_0_and_1(values):
    described = describe(values, SHARE)
    assert (described.low >= 0).all()
    assert (described.high <= 1).all()
    assert (described.low <= described.mean + 1e-12).all()
    assert (described.mean <= described.high + 1e-12).all()


def test_bounds_are_those_of_the_longest_known_part_of_a_name():
    known = {
        "perplexity": (1, np.inf),
        "reference_perplexity": (1, np.inf),
        "reference_perplexity/n": (0, 5),
        "kl": SHARE,
    }
    assert bounds_of("test/perplexity", known) == (1, np.inf)
    assert bounds_of("synthetic/reference_perplexity/n", known) == (0, 5)
    assert bounds_of("synthetic/reference_perplexity/median", known) == (1, np.inf)
    assert bounds_of("kl/mean", known) == SHARE
    assert bounds_of("kl/standard_deviation", known) == (0, np.inf)
    assert bounds_of("test/kl/standard_deviation", known) == (0, np.inf)
    assert bounds_of("klx/mean", known) == (-np.inf, np.inf)


def test_bounds_of_a_group_are_those_of_its_records_and_of_the_family():
    nothing = Measurements(np.empty(0), (), np.empty((0, 0)), np.empty(0))
    possible = ({"kl": (0, np.inf), "share": SHARE}, {"later": (2, 3)})
    chains = tuple(ReportChain("", Path(), str(n), {}, {}, 1, nothing, own) for n, own in enumerate(possible))
    group, presentation = Group("", {}, {}, chains), Presentation(possible={"variance": (0, np.inf), "share": (5, 6)})
    metrics = ["test/kl/mean", "share", "unknown", "variance/mean", "later"]
    expected = [(0, np.inf), SHARE, (-np.inf, np.inf), (0, np.inf), (2, 3)]
    np.testing.assert_array_equal(possible_values(metrics, group, presentation), expected)
    assert possible_values([], group, presentation).shape == (0, 2)


def test_pairing_removes_what_a_seed_does_to_both():
    random = np.random.default_rng(6)
    seeds = 100 * random.normal(size=(2_000, 6))
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
