import numpy as np
import pytest
from scipy import integrate, stats
from scipy.optimize import brentq

from modelcollapse.families.gaussian_mixture.distances import (
    Mixtures,
    gelbrich_distance,
    kl_divergence,
    log_density,
    mass_outside_ellipsoids,
    mixture_wasserstein_distance,
    share_outside_ellipsoid,
    squared_l2_distance,
)


def mixtures(replicates, components, dimensions, seed=0, scale=1.0):
    generator = np.random.default_rng(seed)
    factors = scale * generator.normal(size=(replicates, components, dimensions, dimensions))
    covariances = factors @ factors.swapaxes(-1, -2) + 0.1 * scale**2 * np.eye(dimensions)
    weights = generator.dirichlet(np.full(components, 3.0), size=replicates)
    return Mixtures(weights, generator.normal(size=(replicates, components, dimensions)), covariances)


def gaussians(means, covariances):
    means, covariances = np.asarray(means, float), np.asarray(covariances, float)
    return Mixtures(np.ones((len(means), 1)), means[:, None], covariances[:, None])


def sampled(mixture, rows, seed=0):
    """Samples of the first replicate by SciPy, as columns [1, d, rows]."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(rows, mixture.weights[0])
    parts = [
        generator.multivariate_normal(mean, covariance, count)
        for mean, covariance, count in zip(mixture.means[0], mixture.covariances[0], counts, strict=True)
    ]
    return np.concatenate(parts).T[None]


def density(mixture, x):
    return np.exp(log_density(mixture.select(slice(1)), np.reshape(x, (1, 1, -1))))[0]


@pytest.mark.parametrize(("components", "dimensions"), [(1, 1), (2, 2), (3, 3)])
def test_log_density_is_scipys(components, dimensions):
    found = mixtures(4, components, dimensions)
    columns = np.random.default_rng(1).normal(size=(4, dimensions, 50))
    for number in range(4):
        parts = zip(*found.select(number), strict=True)
        expected = sum(w * stats.multivariate_normal(m, c).pdf(columns[number].T) for w, m, c in parts)
        np.testing.assert_allclose(np.exp(log_density(found, columns)[number]), expected, rtol=1e-10)


@pytest.mark.parametrize("components", [1, 2, 3])
def test_the_l2_distance_is_the_integral(components):
    left, right = mixtures(1, components, 1), mixtures(1, 2, 1, seed=1)
    expected = integrate.quad(lambda x: float((density(left, x) - density(right, x))[0] ** 2), -30, 30, limit=500)[0]
    np.testing.assert_allclose(squared_l2_distance(left, right), expected, rtol=1e-7)


def test_the_l2_distance_in_two_dimensions_is_the_integral():
    left, right = mixtures(1, 2, 2), mixtures(1, 2, 2, seed=1)
    line = np.linspace(-14, 14, 1001)
    grid = np.stack(np.meshgrid(line, line)).reshape(1, 2, -1)
    difference = np.exp(log_density(left, grid)) - np.exp(log_density(right, grid))
    expected = np.square(difference).sum() * (line[1] - line[0]) ** 2
    np.testing.assert_allclose(squared_l2_distance(left, right), expected, rtol=1e-6)


def test_equal_mixtures_have_no_distance():
    one = mixtures(5, 3, 2)
    other = Mixtures(*(part[:, ::-1] for part in one))
    np.testing.assert_allclose(squared_l2_distance(one, other), 0, atol=1e-15)
    np.testing.assert_allclose(gelbrich_distance(one, other), 0, atol=1e-6)
    np.testing.assert_allclose(mixture_wasserstein_distance(one, other), 0, atol=1e-6)


def test_the_divergence_of_gaussians_is_the_closed_form_within_its_error():
    left, right = (
        gaussians([[0.0, 0.0]], [[[1.0, 0.3], [0.3, 1.0]]]),
        gaussians([[0.5, 0.0]], [[[2.0, 0.0], [0.0, 0.7]]]),
    )
    divergence, error = kl_divergence(left, right, sampled(left, 100_000))
    precision, offset = np.linalg.inv(right.covariances[0, 0]), right.means[0, 0]
    determinants = np.linalg.det(right.covariances[0, 0]) / np.linalg.det(left.covariances[0, 0])
    expected = 0.5 * (
        np.trace(precision @ left.covariances[0, 0]) + offset @ precision @ offset - 2 + np.log(determinants)
    )
    assert 0 < error[0] < 0.01
    assert abs(divergence[0] - expected) < 4 * error[0]


def test_the_standard_error_is_the_spread_of_repeated_estimates():
    left, right = mixtures(1, 2, 2), mixtures(1, 2, 2, seed=3)
    estimates = [kl_divergence(left, right, sampled(left, 400, seed)) for seed in range(300)]
    values, errors = np.array(estimates)[:, :, 0].T
    assert np.std(values, ddof=1) == pytest.approx(errors.mean(), rel=0.2)


def test_w2_bounds_of_single_gaussians_are_the_closed_form():
    # Covariances that commute: the distance is that of the standard deviations.
    left, right = gaussians([[0, 0]], [[[4, 0], [0, 9]]]), gaussians([[3, 4]], [[[1, 0], [0, 16]]])
    expected = np.sqrt(25 + 1 + 1)
    np.testing.assert_allclose(gelbrich_distance(left, right), expected)
    np.testing.assert_allclose(mixture_wasserstein_distance(left, right), expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_bounds_hold_the_true_distance(seed):
    left, right = mixtures(1, 2, 1, seed), mixtures(1, 2, 1, seed + 100)

    def quantile(mixture, level):
        def beyond(x):
            deviations = np.sqrt(mixture.covariances[0, :, 0, 0])
            return mixture.weights[0] @ stats.norm.cdf((x - mixture.means[0, :, 0]) / deviations) - level

        return brentq(beyond, -60, 60)

    levels = (np.arange(400) + 0.5) / 400
    gaps = [quantile(left, level) - quantile(right, level) for level in levels]
    distance = np.sqrt(np.mean(np.square(gaps)))
    assert gelbrich_distance(left, right)[0] <= distance * 1.01
    assert mixture_wasserstein_distance(left, right)[0] >= distance * 0.99


def test_two_components_are_carried_as_by_linear_programming():
    left, right = mixtures(20, 2, 2), mixtures(20, 2, 2, seed=1)
    # A third component without weight sends the same problem to the linear program.
    padded = Mixtures(
        np.concatenate([left.weights, np.zeros((20, 1))], axis=1),
        np.concatenate([left.means, np.full((20, 1, 2), 50.0)], axis=1),
        np.concatenate([left.covariances, np.broadcast_to(np.eye(2), (20, 1, 2, 2))], axis=1),
    )
    by_program = mixture_wasserstein_distance(padded, right)
    np.testing.assert_allclose(mixture_wasserstein_distance(left, right), by_program, rtol=1e-7)


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_a_gaussian_has_the_mass_of_its_region(dimensions, level):
    covariance = np.diag([2.0, 0.5])[:dimensions, :dimensions]
    radius = np.sqrt(stats.chi2.ppf(level, dimensions))
    mean = np.full(dimensions, 3.0)
    (found,) = mass_outside_ellipsoids(gaussians([mean], [covariance]), mean, np.linalg.cholesky(covariance), [radius])
    np.testing.assert_allclose(found, 1 - level, rtol=1e-9)


@pytest.mark.parametrize("scale", [3.0, 1.0, 0.1, 1e-3])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_mass_outside_is_the_share_of_samples_outside(dimensions, scale):
    found = mixtures(1, 2, dimensions, seed=4, scale=scale)
    factor = np.linalg.cholesky(np.array([[2.0, 0.3], [0.3, 1.0]])[:dimensions, :dimensions])
    region, radii, samples = (np.full(dimensions, 0.3), factor), [1.0, 1.5], sampled(found, 200_000)
    expected = [share_outside_ellipsoid(samples, *region, radius) for radius in radii]
    np.testing.assert_allclose(mass_outside_ellipsoids(found, *region, radii), expected, atol=0.004)


def test_an_isotropic_gaussian_off_centre_has_the_mass_of_the_noncentral_chi_squared():
    for spread in (2.0, 0.5, 0.05):
        expected = stats.ncx2(2, (1.5 / spread) ** 2).sf((2 / spread) ** 2)
        off_centre = gaussians([[1.2, 0.9]], [spread**2 * np.eye(2)])
        (found,) = mass_outside_ellipsoids(off_centre, np.zeros(2), np.eye(2), [2.0])
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-13)


def test_no_quadrature_in_three_dimensions():
    with pytest.raises(ValueError, match="3 dimensions"):
        mass_outside_ellipsoids(mixtures(1, 2, 3), np.zeros(3), np.eye(3), [1.0])
