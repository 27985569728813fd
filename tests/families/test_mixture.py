import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from modelcollapse.config.settings import read_chain_settings
from modelcollapse.data.settings import GaussianSamplesSettings
from modelcollapse.errors import FitFailed
from modelcollapse.families.estimators.training import stacked
from modelcollapse.families.gaussian_mixture.clustering import k_means, k_means_plus_plus, seed_candidates
from modelcollapse.families.gaussian_mixture.distances import Mixtures
from modelcollapse.families.gaussian_mixture.estimator import GaussianMixtureEstimator
from modelcollapse.families.gaussian_mixture.expectation_maximisation import (
    CollapsedComponentError,
    ExpectationMaximisation,
    Rows,
)
from modelcollapse.families.gaussian_mixture.settings import GaussianMixtureSettings
from modelcollapse.seeding import Stream
from modelcollapse.settings import SettingsError

SHAPES = ("full", "diag", "spherical")
TINY = (
    "experiment=paper_gmm",
    "tracking=none",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "model.replicates=3",
    "model.segment_length=2",
    "data.rows=60",
)


def blobs(replicates, rows, dimensions, seed=0):
    """Three blobs of unequal spread that overlap, different in each replicate."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(scale=2.0, size=(replicates, 3, dimensions))
    spreads = generator.uniform(0.4, 1.6, size=(replicates, 3, dimensions))
    members = generator.integers(3, size=(replicates, rows))[..., None]
    noise = generator.normal(size=(replicates, rows, dimensions))
    return np.take_along_axis(centres, members, 1) + np.take_along_axis(spreads, members, 1) * noise


def uniforms(replicates, components, seed=1):
    return np.random.default_rng(seed).random((replicates, components, seed_candidates(components)))


def sklearn_precisions(covariances, shape):
    precisions = np.linalg.inv(covariances)
    if shape == "full":
        return precisions
    diagonals = np.diagonal(precisions, axis1=1, axis2=2)
    return diagonals if shape == "diag" else diagonals[:, 0]


def sklearn_covariances(model, dimensions):
    if model.covariance_type == "full":
        return model.covariances_
    return np.stack([np.eye(dimensions) * covariance for covariance in model.covariances_])


def sklearn_fit(data, start, shape, tolerance=1e-5, max_iterations=2000, floor=1e-6):
    """scikit-learn's fit of one replicate from the same parameters."""
    model = GaussianMixture(
        len(start.weights),
        covariance_type=shape,
        tol=tolerance,
        max_iter=max_iterations,
        reg_covar=floor,
        weights_init=start.weights / start.weights.sum(),
        means_init=start.means,
        precisions_init=sklearn_precisions(start.covariances, shape),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(data)


def assert_as_sklearn(data, fits, start, maximisation):
    for number, rows in enumerate(data):
        model = sklearn_fit(
            rows,
            start.select(number),
            maximisation.shape,
            maximisation.tolerance,
            maximisation.max_iterations,
            maximisation.covariance_floor,
        )
        found = fits.mixtures.select(number)
        assert fits.iterations[number] == model.n_iter_
        assert fits.converged[number] == model.converged_
        assert fits.log_likelihood[number] == pytest.approx(model.lower_bound_, abs=1e-8, rel=0)
        np.testing.assert_allclose(found.weights, model.weights_, rtol=0, atol=1e-8)
        np.testing.assert_allclose(found.means, model.means_, rtol=0, atol=1e-8)
        np.testing.assert_allclose(found.covariances, sklearn_covariances(model, data.shape[2]), rtol=0, atol=1e-8)


def fit_from_clusters(maximisation, data, components, row_weights=None, seed=1):
    rows = Rows.of(data, row_weights)
    start = maximisation.start_from_clusters(rows, uniforms(len(data), components, seed))
    return start, maximisation.fit(rows, start)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("components", "dimensions"), [(1, 1), (1, 4), (2, 1), (2, 2), (2, 5), (3, 2), (3, 3), (4, 2), (4, 4)]
)
def test_from_the_same_start_the_fit_is_scikit_learns(shape, components, dimensions):
    maximisation = ExpectationMaximisation(shape, 1e-5, 2000, 1e-6)
    data = blobs(4, 300, dimensions, seed=components)
    start, fits = fit_from_clusters(maximisation, data, components)
    assert_as_sklearn(data, fits, start, maximisation)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_start_from_single_rows_is_fitted_as_scikit_learn_does(shape):
    maximisation = ExpectationMaximisation(shape, 1e-5, 2000, 1e-4)
    data = blobs(3, 200, 2)
    rows = Rows.of(data, None)
    start = maximisation.start_from_rows(rows, uniforms(3, 3))
    distances = np.abs(data[:, :, None] - start.means[:, None]).sum(axis=3)
    assert distances.min(axis=1).max() < 1e-12
    np.testing.assert_array_equal(start.covariances, np.broadcast_to(1e-4 * np.eye(2), (3, 3, 2, 2)))
    assert_as_sklearn(data, maximisation.fit(rows, start), start, maximisation)


def test_the_blob_of_the_paper_is_fitted_as_scikit_learn_does():
    # Two components on one blob: the likelihood is flat, and EM takes hundreds of steps.
    maximisation = ExpectationMaximisation("full", 1e-5, 2000, 1e-6)
    data = np.random.default_rng(3).normal(size=(6, 1000, 2))
    start, fits = fit_from_clusters(maximisation, data, 2)
    assert fits.iterations.max() > 60
    assert_as_sklearn(data, fits, start, maximisation)


@pytest.mark.parametrize("max_iterations", [1, 2, 7])
def test_a_fit_that_is_cut_off_says_so(max_iterations):
    maximisation = ExpectationMaximisation("full", 1e-9, max_iterations, 1e-6)
    data = blobs(3, 200, 2)
    start, fits = fit_from_clusters(maximisation, data, 2)
    assert fits.iterations.tolist() == [max_iterations] * 3
    assert not fits.converged.any()
    assert_as_sklearn(data, fits, start, maximisation)


def test_a_replicate_does_not_depend_on_the_others_in_the_batch():
    maximisation = ExpectationMaximisation("full", 1e-5, 2000, 1e-6)
    data = blobs(9, 250, 2)
    start, together = fit_from_clusters(maximisation, data, 3)
    assert len(set(together.iterations.tolist())) > 4
    for number in range(9):
        alone = maximisation.fit(Rows.of(data[[number]], None), start.select([number]))
        assert alone.iterations[0] == together.iterations[number]
        for one, many in zip(alone.mixtures, together.mixtures, strict=True):
            np.testing.assert_array_equal(one[0], many[number])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_that_weighs_twice_is_two_rows(shape):
    # A floor that keeps a component on one row from magnifying the rounding of sums in another order.
    maximisation = ExpectationMaximisation(shape, 1e-6, 2000, 1e-3)
    data = blobs(3, 150, 2)
    counts = np.random.default_rng(5).integers(1, 4, size=150)
    start, weighted = fit_from_clusters(maximisation, data, 3, counts / counts.mean())
    repeated = np.repeat(data, counts, axis=1)
    plain = maximisation.fit(Rows.of(repeated, None), start)
    assert weighted.iterations.tolist() == plain.iterations.tolist()
    np.testing.assert_allclose(weighted.log_likelihood, plain.log_likelihood, rtol=0, atol=1e-10)
    for one, other in zip(weighted.mixtures, plain.mixtures, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_weighted_clusters_are_those_of_repeated_rows():
    data = blobs(1, 120, 2)[0]
    counts = np.random.default_rng(6).integers(1, 5, size=120)
    columns = data.T[None].copy()
    centres, labels = k_means(columns, counts[None].astype(float), data[None, :3].copy())
    repeated = columns.repeat(counts, axis=2)
    plain, same = k_means(repeated, np.ones((1, counts.sum())), data[None, :3].copy())
    np.testing.assert_array_equal(same, labels.repeat(counts, axis=1))
    np.testing.assert_allclose(plain, centres, rtol=1e-12)


@pytest.mark.parametrize("components", [2, 3, 5])
def test_clusters_are_scikit_learns_from_the_same_seeds(components):
    data = blobs(5, 400, 3)
    columns, weights = Rows.of(data, None)
    seeds = k_means_plus_plus(columns, weights, uniforms(5, components))
    centres, labels = k_means(columns, weights, seeds)
    for number in range(5):
        clusters = KMeans(components, init=seeds[number], n_init=1).fit(data[number])
        np.testing.assert_array_equal(labels[number], clusters.labels_)
        np.testing.assert_allclose(centres[number], clusters.cluster_centers_, rtol=1e-9)


def test_seeds_are_rows_in_proportion_to_squared_distance():
    # One candidate a seed is plain k-means++: from the row at 0, rows at 1 and 3 follow with odds of 1 to 9.
    columns = np.array([[[0.0, 1, 3]]]).repeat(20_000, axis=0)
    draws = np.random.default_rng(0).random((20_000, 2, 1))
    seeds = k_means_plus_plus(columns, np.ones((20_000, 3)), draws)[..., 0]
    np.testing.assert_allclose(np.bincount(seeds[:, 0].astype(int))[[0, 1, 3]] / 20_000, 1 / 3, atol=0.015)
    from_first = seeds[seeds[:, 0] == 0, 1]
    assert (from_first == 3).mean() == pytest.approx(0.9, abs=0.015)
    weighted = k_means_plus_plus(columns, np.array([[1.0, 9.0, 1.0]]).repeat(20_000, axis=0), draws)[..., 0]
    assert (weighted[weighted[:, 0] == 0, 1] == 3).mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("shape", SHAPES)
def test_far_from_the_origin_no_digits_are_lost(shape):
    maximisation = ExpectationMaximisation(shape, 1e-6, 2000, 1e-6)
    data, distance = blobs(3, 200, 2), 2.0**26
    far = data + distance
    start, here = fit_from_clusters(maximisation, far - distance, 2)
    there = maximisation.fit(Rows.of(far, None), start._replace(means=start.means + distance))
    np.testing.assert_allclose(there.log_likelihood, here.log_likelihood, rtol=0, atol=1e-7)
    np.testing.assert_allclose(there.mixtures.covariances, here.mixtures.covariances, rtol=0, atol=1e-5)
    np.testing.assert_allclose(there.mixtures.means - distance, here.mixtures.means, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_component_on_equal_rows_is_as_wide_as_the_floor(shape):
    data = np.random.default_rng(0).normal(size=(1, 100, 2))
    data[:, :30] = [4.0, 1.0]
    maximisation = ExpectationMaximisation(shape, 1e-6, 500, 1e-6)
    start, fits = fit_from_clusters(maximisation, data, 2)
    assert_as_sklearn(data, fits, start, maximisation)
    collapsed = fits.mixtures.by_weight().covariances[0, 1]
    np.testing.assert_allclose(collapsed, 1e-6 * np.eye(2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_floor_a_collapse_is_refused_as_scikit_learn_refuses_it(shape):
    data = np.random.default_rng(0).normal(size=(3, 100, 2))
    data[1, :30] = [40.0, 1.0]
    maximisation = ExpectationMaximisation(shape, 1e-6, 500, 0.0)
    means = np.broadcast_to([[0.0, 0.0], [40.0, 1.0]], (3, 2, 2)).copy()
    means[[0, 2], 1] = 1.0
    start = Mixtures(np.full((3, 2), 0.5), means, np.broadcast_to(np.eye(2), (3, 2, 2, 2)))
    if shape == "full":  # where scikit-learn too subtracts the mean before it squares
        with pytest.raises(ValueError, match="ill-defined empirical covariance"):
            sklearn_fit(data[1], start.select(1), shape, 1e-6, 500, 0.0)
    with pytest.raises(CollapsedComponentError, match="1 replicates"):
        maximisation.fit(Rows.of(data, None), start)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_component_that_loses_all_rows_ends_where_scikit_learns_does(shape):
    data = np.random.default_rng(0).normal(loc=7.0, size=(1, 100, 2))
    means = np.array([[[7.0, 7.0], [500.0, 500.0]]])
    start = Mixtures(np.array([[0.5, 0.5]]), means, np.eye(2)[None, None].repeat(2, axis=1))
    maximisation = ExpectationMaximisation(shape, 1e-6, 500, 1e-6)
    fits = maximisation.fit(Rows.of(data, None), start)
    assert_as_sklearn(data, fits, start, maximisation)
    assert fits.mixtures.weights[0, 1] < 1e-15


# ---- the estimator ------------------------------------------------------------------------------------------------


def estimator(dimensions=2, replicates=4, **changes):
    settings = {
        "name": "mixture",
        "replicates": replicates,
        "segment_length": 10,
        "family": "gaussian_mixture",
        "components": 2,
        "covariance": "full",
        "start": "kmeans",
        "tolerance": 1e-5,
        "max_iterations": 2000,
        "covariance_floor": 1e-6,
        "divergence_samples": 500,
    }
    identity = tuple(tuple(row) for row in np.eye(dimensions).tolist())
    data = GaussianSamplesSettings("gaussian_samples", "blob", 500, (0.0,) * dimensions, identity)
    return GaussianMixtureEstimator(GaussianMixtureSettings(**settings | changes), data)


def two_component_state(replicates=3):
    weights = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    means = torch.tensor([[[-3.0, 1.0], [2.0, 0.0]]], dtype=torch.float64)
    covariances = torch.tensor([[[[0.5, 0.2], [0.2, 0.4]], [[1.0, -0.6], [-0.6, 2.0]]]], dtype=torch.float64)
    parts = {"weights": weights, "means": means, "covariances": covariances}
    return {name: part.expand(replicates, *part.shape[1:]).contiguous() for name, part in parts.items()}


def test_draws_have_the_moments_of_the_mixture_and_can_be_drawn_again():
    state, stream = two_component_state(), Stream(0, 1, "draw")
    rows = estimator().draw(state, 100_000, stream)
    assert rows.shape == (3, 100_000, 2)
    assert torch.equal(rows, estimator().draw(state, 100_000, stream))
    assert not torch.equal(rows[0], rows[1])
    mixtures = Mixtures(*(part.numpy() for part in state.values()))
    np.testing.assert_allclose(rows.mean(1), mixtures.mean(), atol=0.04)
    np.testing.assert_allclose([np.cov(part.T.numpy()) for part in rows], mixtures.covariance(), atol=0.08)
    left = (rows[..., 0] < -0.9).double().mean(1)
    expected = 0.25 * stats.norm.cdf((-0.9 + 3) / math.sqrt(0.5)) + 0.75 * stats.norm.cdf(-0.9 - 2)
    np.testing.assert_allclose(left, expected, atol=0.006)


def test_samples_do_not_stand_in_the_order_of_their_components():
    rows = estimator().draw(two_component_state(1), 4000, Stream(0, 1, "draw"))[0]
    first, second = (rows[half, 0] < -0.9 for half in (slice(0, 2000), slice(2000, None)))
    assert float(first.double().mean()) == pytest.approx(float(second.double().mean()), abs=0.06)


def test_a_fit_from_the_previous_mixture_starts_there():
    fitting = estimator(start="previous")
    data = fitting.draw(two_component_state(4), 2000, Stream(0, 0, "draw"))
    first = fitting.fit(data, None, None, Stream(0, 0, "fit"))
    again = fitting.fit(data, None, first.state, Stream(0, 1, "fit"))
    assert first.diagnostics["iterations"].min() > 2
    assert again.diagnostics["iterations"].max() <= 2
    ordered = [state["means"].sort(1).values for state in (first.state, two_component_state(4))]
    torch.testing.assert_close(*ordered, atol=0.25, rtol=0)


@pytest.mark.parametrize("start", ["kmeans", "kmeans++"])
def test_a_fit_depends_on_data_and_stream_alone(start):
    fitting = estimator(start=start)
    data = fitting.real(300, Stream(0, 0, "real"))
    one, other = (fitting.fit(data, None, None, Stream(0, 0, "fit")) for _ in range(2))
    assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)
    assert all(values.dtype == torch.float64 and values.shape == (4,) for values in one.diagnostics.values())


def test_collapsed_components_are_reported():
    fitting = estimator()
    data = fitting.real(200, Stream(0, 0, "real"))
    healthy = fitting.fit(data, None, None, Stream(0, 0, "fit"))
    data[2, :40] = torch.tensor([9.0, 9.0], dtype=torch.float64)
    fitted = fitting.fit(data, None, None, Stream(0, 0, "fit"))
    assert healthy.diagnostics["collapsed_components"].tolist() == [0, 0, 0, 0]
    assert fitted.diagnostics["collapsed_components"].tolist() == [0, 0, 1, 0]
    with pytest.raises(FitFailed, match=r"generation 5: .* in 1 replicates; raise model.covariance_floor"):
        estimator(covariance_floor=0.0).fit(data, None, None, Stream(0, 5, "fit"))


def one_generation(state):
    return {name: part[None] for name, part in state.items()}


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_generation_is_measured_as_alone_whatever_is_measured_with_it(dimensions):
    measuring, count = estimator(dimensions, replicates=3), 5
    streams = [Stream(0, generation, "measure") for generation in range(count)]
    data = measuring.real(count * 300, Stream(0, 0, "real")).view(3, count, 300, dimensions)
    states = [measuring.fit(data[:, t], None, None, Stream(0, t, "fit")).state for t in range(count)]
    together = measuring.measure(stacked(states), states[0], streams)
    for generation, (state, stream) in enumerate(zip(states, streams, strict=True)):
        alone = measuring.measure(one_generation(state), states[0], [stream])
        assert all(torch.equal(alone[name][0], together[name][generation]) for name in together)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_measures_of_the_first_generation_are_those_of_no_loss(dimensions):
    measuring = estimator(dimensions, divergence_samples=4000)
    fitted = measuring.fit(measuring.real(4000, Stream(0, 0, "real")), None, None, Stream(0, 0, "fit"))
    measured = measuring.measure(one_generation(fitted.state), fitted.state, [Stream(0, 0, "measure")])
    measures = {name: values[0] for name, values in measured.items()}
    assert all(values.shape == (4,) and values.isfinite().all() for values in measures.values())
    for name in ("squared_l2_to_first", "kl_from_first", "kl_from_first_standard_error"):
        torch.testing.assert_close(measures[name], torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    for name in ("wasserstein_lower_bound", "wasserstein_upper_bound"):
        torch.testing.assert_close(measures[name], torch.zeros(4, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        measures["tail_mass_95"], torch.full((4,), 0.05, dtype=torch.float64), atol=0.016, rtol=0
    )
    torch.testing.assert_close(
        measures["tail_mass_99"], torch.full((4,), 0.01, dtype=torch.float64), atol=0.009, rtol=0
    )
    assert (measures["component_1_weight"] >= measures["component_2_weight"]).all()


# ---- chains -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regime", ["replace", "golden_ratio", "accumulate_subsample"])
def test_a_chain_in_segments_is_the_chain_in_one_go(chain, tmp_path, regime):
    overrides = (*TINY, f"regime={regime}", "generations=5")
    cut = chain(*overrides)
    whole = chain(*overrides, "model.segment_length=100", store=tmp_path / "other")
    assert len(cut.lines()) == 6
    assert [_measured(line) for line in cut.lines()] == [_measured(line) for line in whole.lines()]


def _measured(line):
    return {name: value for name, value in line.items() if name != "artifacts"}


def test_a_mixture_that_is_fitted_to_itself_forgets(chain):
    last = chain(*TINY, "generations=40", "model.segment_length=40").lines()[-1]
    assert last["squared_l2_to_first/median"] > 0.03
    assert last["variance/median"] < 1.6
    assert last["kl_from_first/median"] > 3 * last["kl_from_first_standard_error/median"]


def test_a_component_needs_a_row(compose_values):
    with pytest.raises(SettingsError, match=r"model.components: 7 must be at most data.rows=5"):
        read_chain_settings(compose_values(*TINY, "data.rows=5", "model.components=7"))


def test_the_report_shows_the_papers_figures(train):
    finished = train(*TINY, "generations=4")
    assert finished.code == 0, finished.err
    names = {path.name for path in finished.folder.rglob("figures/*.png")}
    assert names == {
        f"{name}.png" for name in ("distances_by_generation", "samples_by_generation", "components_over_generations")
    }
    table = pd.read_parquet(next(finished.folder.rglob("gaussian_mixture.parquet")))
    assert table["generation"].tolist() == [0, 1, 2, 3, 4]
