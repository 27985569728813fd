import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelcollapse.metrics import distribution

VALUES = arrays(np.float64, st.integers(1, 60), elements=st.floats(1, 1e6))


def type_7(values, share):
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@given(VALUES)
def test_summary_against_the_definition(values):
    low, high = 3.0, 1000.0
    summary = distribution.perplexity_summary(values, (low, high))
    for name, share in {"p01": 0.01, "p05": 0.05, "median": 0.5, "p95": 0.95, "p99": 0.99}.items():
        assert summary[name] == pytest.approx(type_7(values, share), rel=1e-9)
    assert summary["mean"] == pytest.approx(sum(values) / len(values), rel=1e-9)
    assert summary["above_real_p99"] == sum(value > high for value in values) / len(values)
    assert summary["below_real_p01"] == sum(value < low for value in values) / len(values)
    assert summary["n"] == len(values)


def test_real_text_has_one_percent_in_either_tail():
    real = np.random.default_rng(0).lognormal(3, 0.5, 10_000)
    bounds = distribution.tail_bounds(real)
    assert bounds == pytest.approx(np.percentile(real, [1, 99]))
    summary = distribution.perplexity_summary(real, bounds)
    assert summary["above_real_p99"] == pytest.approx(0.01)
    assert summary["below_real_p01"] == pytest.approx(0.01)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]], ids=["none", "nan", "infinite"])
def test_values_that_are_no_perplexities_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        distribution.perplexity_summary(values, (1, 2))
    with pytest.raises(ValueError, match="finite"):
        distribution.tail_bounds(values)


def test_bounds_out_of_order_are_refused():
    with pytest.raises(ValueError, match="low, high"):
        distribution.perplexity_summary([1.0], (2, 1))


def test_a_uniform_guess_over_bytes_costs_eight_bits_and_256():
    nll = 1000 * math.log(256)
    assert distribution.bits_per_byte(nll, 1000) == pytest.approx(8)
    assert distribution.bits_per_byte(nll / 1000, 1) == pytest.approx(8)
    assert distribution.perplexity(nll / 1000) == pytest.approx(256)


def test_perplexity_beyond_floats_is_infinite():
    assert distribution.perplexity(1e4) == math.inf
    assert math.isnan(distribution.perplexity(math.nan))


def test_no_bytes_are_refused():
    with pytest.raises(ValueError, match="0 bytes"):
        distribution.bits_per_byte(1.0, 0)
