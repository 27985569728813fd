import math
from fractions import Fraction

import numpy as np
import pytest

from modelcollapse.compiled import compiled
from modelcollapse.families.gaussian_mixture.distances import Mixtures, log_density, sample
from modelcollapse.families.gaussian_mixture.kernels import (
    BLOCK,
    exponential,
    log_densities,
    logarithm,
    place_samples,
    whiten,
)

ULP = 2.0**-52


@compiled
def exponentials(numbers):
    found = np.empty_like(numbers)
    for n in range(len(numbers)):
        found[n] = exponential(numbers[n])
    return found


@compiled
def logarithms(numbers):
    found = np.empty_like(numbers)
    for n in range(len(numbers)):
        found[n] = logarithm(numbers[n])
    return found


def relative_error(found, numbers, function):
    """Against 80 bits, which a long double has on most machines; elsewhere against doubles."""
    expected = function(numbers.astype(np.longdouble))
    return float(np.abs((found - expected) / np.where(expected == 0, 1, expected)).max())


def test_exponentials_are_exact_to_a_unit_in_the_last_place():
    generator = np.random.default_rng(0)
    numbers = -np.concatenate([generator.random(50_000) * 708, generator.random(50_000), np.logspace(-300, 2.8, 9999)])
    assert relative_error(exponentials(numbers), numbers, np.exp) < 1.01 * ULP
    edges = np.array([0.0, -0.0, -708.0, -709.0, -1e300, -np.inf])
    np.testing.assert_array_equal(exponentials(edges)[:2], 1.0)
    np.testing.assert_allclose(exponentials(edges)[2:], math.exp(-708), rtol=1e-15)


def test_logarithms_are_exact_to_two_units_in_the_last_place():
    generator = np.random.default_rng(0)
    near_one = 1 + np.concatenate([generator.random(50_000), np.logspace(-15, 0, 9999)])
    numbers = np.concatenate([near_one, 1 / near_one, generator.random(50_000) * 1e6, np.logspace(-300, 300, 9999)])
    assert relative_error(logarithms(numbers), numbers, np.log) < 2 * ULP
    np.testing.assert_array_equal(logarithms(np.array([1.0])), 0.0)


def test_halving_is_what_a_power_of_two_is():
    powers = np.arange(-1000.0, 1000.0)
    np.testing.assert_allclose(logarithms(2**powers), [float(Fraction(p) * Fraction(math.log(2))) for p in powers])


@pytest.mark.parametrize("rows", [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
@pytest.mark.parametrize("components", [1, 2, 3])
def test_a_row_has_its_density_whatever_block_it_is_in(components, rows):
    generator = np.random.default_rng(0)
    factors = generator.normal(size=(2, components, 3, 3))
    weights = generator.dirichlet(np.ones(components), size=2)
    found = Mixtures(weights, generator.normal(size=(2, components, 3)), factors @ factors.mT + np.eye(3))
    columns = generator.normal(size=(2, 3, rows))
    alone = np.concatenate([log_density(found, columns[:, :, [n]]) for n in range(rows)], axis=1)
    np.testing.assert_allclose(log_density(found, columns), alone, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("covariance", "mean", "sound"),
    [
        (np.eye(2), [0.0, 0.0], True),
        (np.ones((2, 2)), [0.0, 0.0], False),
        (-np.eye(2), [0.0, 0.0], False),
        (np.full((2, 2), np.nan), [0.0, 0.0], False),
        (1e-30 * np.eye(2), [0.0, 0.0], True),
        (1e-30 * np.eye(2), [3.0, 0.0], False),
        (1e-28 * np.eye(2), [0.0, 3.0], True),
    ],
)
def test_a_component_without_a_density_is_reported(covariance, mean, sound):
    whitening, constants = np.zeros((1, 2, 2)), np.empty(1)
    assert whiten(np.ones(1), np.array([mean]), covariance[None].copy(), whitening, constants) is sound
    if sound:
        expected = -math.log(2 * math.pi) - 0.5 * np.linalg.slogdet(covariance)[1]
        assert constants[0] == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(2 * whitening[0] @ covariance @ whitening[0].T, np.eye(2), atol=1e-12)


def test_nothing_is_compiled_twice():
    found = Mixtures(np.full((2, 2), 0.5), np.zeros((2, 2, 1)), np.ones((2, 2, 1, 1)))
    for mixtures in (found, found.select(slice(None, None, -1)), Mixtures(*map(_read_only, found))):
        columns = sample(mixtures, 50, np.random.default_rng(0))
        log_density(mixtures, columns)
        log_density(mixtures, _read_only(columns.swapaxes(1, 2).copy()).swapaxes(1, 2))
    assert [len(function.signatures) for function in (log_densities, place_samples, whiten)] == [1, 1, 1]


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array
