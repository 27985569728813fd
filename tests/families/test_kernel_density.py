"""Kernel densities and shapes: against scikit-learn, moments against closed forms, under every regime."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import make_circles, make_moons, make_swiss_roll
from sklearn.neighbors import KernelDensity

from conftest import composed
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.data.points import Shapes, ShapesSettings
from modelcollapse.families.estimators.theory import Plan
from modelcollapse.families.kernel_density import theory
from modelcollapse.families.kernel_density.estimator import KernelDensityEstimator, scott_bandwidth
from modelcollapse.families.kernel_density.kernels import coordinate_variance, kernel_noise, log_densities
from modelcollapse.families.kernel_density.settings import KernelDensitySettings
from modelcollapse.regimes import RegimeSettings
from modelcollapse.seeding import Stream
from modelcollapse.settings import SettingsError

SIGMAS = 4.0
REGIMES = sorted(path.stem for path in (configuration_folder() / "regime").glob("*.yaml"))
WORDS = ("model=kernel_density", "data=shapes", "decoding=none", "tracking=none", "trainer.threads=1")
SMALL = (*WORDS, "data.rows=20", "model.test_points=10", "generations=3", "model.centres=80")


def shape(name, noise=0.05):
    return Shapes(ShapesSettings("shapes", "shapes", 100, name, noise))


@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
@pytest.mark.parametrize("kernel", ["gaussian", "tophat"])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_densities_are_those_of_scikit_learn(kernel, dimension, weighted):
    generator = np.random.default_rng(0)
    rows, points = (torch.from_numpy(generator.standard_normal((3, count, dimension))) for count in (40, 25))
    weights = torch.linspace(0.5, 1.5, 40, dtype=torch.float64) if weighted else None
    found = log_densities(kernel, points, rows, weights, 0.7)
    for replicate in range(3):
        rival = KernelDensity(kernel=kernel, bandwidth=0.7, rtol=1e-12)
        rival.fit(rows[replicate], sample_weight=None if weights is None else weights.numpy())
        np.testing.assert_allclose(found[replicate], rival.score_samples(points[replicate]), rtol=1e-9)
    assert bool((found == -torch.inf).any()) is (kernel == "tophat" and dimension > 1)


@pytest.mark.parametrize(("rows", "dimension"), [(10, 1), (1000, 2)])
def test_scotts_rule_is_that_of_scikit_learn(rows, dimension):
    rival = KernelDensity(bandwidth="scott").fit(np.zeros((rows, dimension)))
    assert scott_bandwidth(rows, dimension) == pytest.approx(rival.bandwidth_)


@pytest.mark.parametrize("kernel", ["gaussian", "tophat"])
@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_a_kernel_is_drawn_from_as_it_is_defined(kernel, dimension):
    drawn = kernel_noise(kernel, (1, 50_000, dimension), np.random.default_rng(1))[0].numpy()
    squares = drawn**2
    assert abs(squares.mean() - coordinate_variance(kernel, dimension)) < SIGMAS * squares.std() / np.sqrt(squares.size)
    radii = np.sqrt(squares.sum(axis=1))
    law = stats.chi(dimension).cdf if kernel == "gaussian" else lambda radius: np.clip(radius, 0, 1) ** dimension
    assert stats.kstest(radii, law).pvalue > 1e-4


def test_rows_written_around_centres_are_draws_of_the_density():
    model = KernelDensitySettings("density", 4000, 10, "kernel_density", "gaussian", 0.3, 5, 10)
    data = ShapesSettings("shapes", "shapes", 7, "moons", 0.05)
    estimator = KernelDensityEstimator(model, data)
    training = estimator.real(7, Stream(1, 0, "real"))[:1].expand(4000, -1, -1)
    state = estimator.fit(training, None, None, Stream(1, 0, "fit")).state
    written = estimator.draw(state, 5, Stream(1, 0, "synthesis")).reshape(-1, 2).numpy()
    # What is written is as far along any direction as the mixture of kernels says.
    direction = np.array([0.6, 0.8])
    places = training[0].numpy() @ direction
    assert (
        stats.kstest(written @ direction, lambda x: stats.norm.cdf((x[:, None] - places) / 0.3).mean(1)).pvalue > 1e-4
    )
    # Rows of one replicate are independent of each other.
    pairs = (written @ direction).reshape(4000, 5)
    assert abs(np.corrcoef(pairs.T)[0, 1:]).max() < SIGMAS / np.sqrt(4000)


def test_shapes_are_those_of_scikit_learn():
    rivals = {
        "moons": make_moons(20_000, noise=0.05, random_state=0)[0],
        "circles": make_circles(20_000, noise=0.05, factor=0.8, random_state=0)[0],
        "spiral": make_swiss_roll(20_000, noise=0.5, random_state=0)[0][:, [0, 2]] / 10,
    }
    for name, rival in rivals.items():
        drawn = shape(name).draw(1, 20_000, Stream(0, 0, "real"))[0].numpy()
        for direction in np.eye(2), np.array([[0.6, 0.8], [-0.8, 0.6]]):
            for left, right in zip((drawn @ direction).T, (rival @ direction).T, strict=True):
                assert stats.ks_2samp(left, right).pvalue > 1e-4, name


@pytest.mark.parametrize("name", ["blobs", "circles", "moons", "spiral"])
def test_moments_of_shapes_are_those_of_many_points(name):
    source = shape(name, noise=0.3)
    drawn = source.draw(1, 200_000, Stream(0, 0, "real"))[0].numpy()
    errors = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert (abs(drawn.mean(axis=0) - source.mean) < SIGMAS * errors).all()
    squares = ((drawn - source.mean) ** 2).mean(axis=1)
    assert abs(squares.mean() - source.variance) < SIGMAS * squares.std() / np.sqrt(len(squares))


@pytest.mark.parametrize("regime", REGIMES)
def test_the_spread_is_what_is_expected_under_every_regime(chain, compose_values, regime):
    words = (*SMALL, "model.replicates=3000", f"regime={regime}", "model.bandwidth=0.4", "model.test_points=1")
    works = chain(*words).works
    settings = read_chain_settings(compose_values(*words))
    plan = Plan(settings.regime, 3, 20)
    expected = theory.kernel_density_expectations(plan, settings.model, settings.data)
    assert np.isfinite(expected["spread"]).all()
    for name in ("spread", "variance"):
        for work, value in zip(works, expected[name], strict=True):
            metrics = work.result.metrics
            error = metrics[f"{name}/standard_deviation"] / np.sqrt(3000)
            assert np.isnan(value) or abs(metrics[f"{name}/mean"] - value) <= SIGMAS * error
            assert np.isnan(value) or error < 0.0125 * value


def test_closed_forms_are_the_published_ones():
    widths = np.full(6, 0.25)
    harmonic = np.cumsum(1 / np.arange(1, 7))
    assert theory.spreads(Plan(RegimeSettings("replace"), 5, 9), 1.0, widths) == pytest.approx(
        1 + 0.25 * np.arange(1, 7)
    )
    accumulated = theory.spreads(Plan(RegimeSettings("accumulate", pool="all"), 5, 9), 1.0, widths)
    assert accumulated == pytest.approx(1 + 0.25 * harmonic)
    assert theory.replaced_variances([10] * 2000, 1.0, np.full(2000, 0.25))[-1] == pytest.approx(9 * 0.25)


def test_more_rows_than_centres_are_refused():
    with pytest.raises(SettingsError, match=r"regime=grown_replace asks for 80 rows.*model\.centres=80"):
        read_chain_settings(composed(*SMALL, "model.centres=79", "regime=grown_replace"))


def test_a_ball_that_reaches_no_test_point_is_an_infinite_loss(chain):
    (work, *_) = chain(*SMALL, "model.kernel=tophat", "model.bandwidth=0.01", "model.replicates=3").works
    assert work.result.metrics["test_loss/mean"] == np.inf
    assert 0 <= work.result.metrics["reached/mean"] < 1
