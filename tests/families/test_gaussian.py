"""The Gaussian estimator against independent references, and its chains against theory."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import ks_2samp

from modelcollapse.data.settings import GaussianSamplesSettings
from modelcollapse.families.estimators.estimator import FitFailed
from modelcollapse.families.gaussian import theory
from modelcollapse.families.gaussian.estimator import GaussianEstimator
from modelcollapse.families.gaussian.settings import GaussianSettings
from modelcollapse.seeding import Stream

SIGMAS = 5.0
"""Bound of every comparison with an expectation, in standard errors over independent replicates."""
MEAN = (1.0, -2.0, 0.5)
COVARIANCE = ((2.0, 0.6, -0.3), (0.6, 1.5, 0.2), (-0.3, 0.2, 0.5))
"""No mean is 0 and no variance is 1: what is forgotten to be taken off, multiplied or divided must show."""
STREAM = Stream(0, 3, "test")


def estimator(kind="unbiased", replicates=4000, dimension=1):
    covariance = tuple(row[:dimension] for row in COVARIANCE[:dimension])
    model = GaussianSettings("Gaussian", replicates, 100, "gaussian", kind, "samples")
    return GaussianEstimator(model, GaussianSamplesSettings("gaussian_samples", "N", 10, MEAN[:dimension], covariance))


def covariance_of(state):
    return state["factor"] @ state["factor"].mT


def measured(gaussian, state):
    one = {name: part[None] for name, part in state.items()}
    return {name: values[0] for name, values in gaussian.measure(one, state, [STREAM]).items()}


def standard_errors(values, expected):
    numbers = np.asarray(values, dtype=float)
    return abs(numbers.mean() - expected) / (numbers.std(ddof=1) / np.sqrt(len(numbers)))


def one_fit(gaussian, rows, synthesis, stream=STREAM):
    if synthesis == "samples":
        return gaussian.fit(gaussian.real(rows, stream), None, None, stream)
    return gaussian.fit_statistics(gaussian.real_statistics(rows, stream), None, stream)


@pytest.mark.parametrize("synthesis", ["samples", "statistics"])
@pytest.mark.parametrize(("kind", "share"), [("unbiased", 1.0), ("biased", 0.8)])
def test_the_mean_of_the_estimates_has_the_bias_of_the_estimator(kind, share, synthesis):
    variances = covariance_of(one_fit(estimator(kind), 5, synthesis).state)[:, 0, 0]
    assert standard_errors(variances, share * COVARIANCE[0][0]) < SIGMAS
    other = {1.0: 0.8, 0.8: 1.0}[share]
    assert standard_errors(variances, other * COVARIANCE[0][0]) > 2 * SIGMAS, "the other estimator would pass too"


@pytest.mark.parametrize("synthesis", ["samples", "statistics"])
def test_every_entry_of_a_covariance_is_unbiased(synthesis):
    state = one_fit(estimator(dimension=3), 6, synthesis).state
    for i in range(3):
        assert standard_errors(state["mean"][:, i], MEAN[i]) < SIGMAS
        assert standard_errors((state["mean"][:, i] - MEAN[i]) ** 2, COVARIANCE[i][i] / 6) < SIGMAS
        for j in range(3):
            assert standard_errors(covariance_of(state)[:, i, j], COVARIANCE[i][j]) < SIGMAS


@pytest.mark.parametrize("dimension", [1, 3])
def test_samples_and_statistics_have_one_distribution(dimension):
    gaussian, states = estimator(dimension=dimension), {}
    for synthesis in ("samples", "statistics"):
        state = one_fit(gaussian, 6, synthesis, Stream(0, 0, synthesis)).state
        for generation in range(1, 4):
            stream = Stream(0, generation, synthesis)
            if synthesis == "samples":
                state = gaussian.fit(gaussian.draw(state, 6, stream), None, state, stream).state
            else:
                state = gaussian.fit_statistics(gaussian.draw_statistics(state, 6, stream), state, stream).state
        covariance = covariance_of(state)
        entries = [state["mean"], covariance.flatten(1), torch.linalg.slogdet(covariance)[1][:, None]]
        products = (state["mean"][:, :, None] * covariance.diagonal(dim1=1, dim2=2)[:, None, :]).flatten(1)
        states[synthesis] = torch.cat([*entries, products], dim=1).numpy()
    probabilities = [ks_2samp(a, b).pvalue for a, b in zip(states["samples"].T, states["statistics"].T, strict=True)]
    assert min(probabilities) > 1e-3 / len(probabilities), probabilities


def test_the_comparison_of_distributions_would_catch_one_degree_of_freedom():
    gaussian = estimator()
    variances = covariance_of(one_fit(gaussian, 6, "samples").state)[:, 0, 0].numpy()
    wrong = COVARIANCE[0][0] * np.random.default_rng(0).chisquare(6, 4000) / 5
    assert ks_2samp(variances, wrong).pvalue < 1e-6


@pytest.mark.parametrize(("kind", "correction"), [("unbiased", 1), ("biased", 0)])
def test_weighted_moments_are_those_of_numpy(kind, correction):
    gaussian = estimator(kind, replicates=3, dimension=3)
    data = gaussian.real(9, STREAM)
    weights = torch.tensor([0.25] * 6 + [2.5] * 3, dtype=torch.float64)
    fitted = gaussian.fit(data, weights, None, STREAM).state
    for replicate in range(3):
        rows, shares = data[replicate].numpy(), weights.numpy()
        np.testing.assert_allclose(fitted["mean"][replicate], np.average(rows, axis=0, weights=shares))
        reference = np.cov(rows.T, aweights=shares, ddof=correction)
        np.testing.assert_allclose(covariance_of(fitted)[replicate], reference)


@pytest.mark.parametrize("dimension", [1, 3])
def test_pooled_statistics_are_those_of_all_rows_together(dimension):
    gaussian = estimator(dimension=dimension, replicates=4)
    sets = [gaussian.real(rows, Stream(0, rows, "test")) for rows in (5, 9, 20)]
    pooled = _statistics(sets[0])
    for rows in sets[1:]:
        pooled = gaussian.pool_statistics(pooled, _statistics(rows))
    together = gaussian.fit(torch.cat(sets, dim=1), None, None, STREAM).state
    fitted = gaussian.fit_statistics(pooled, None, STREAM).state
    torch.testing.assert_close(fitted["mean"], together["mean"])
    torch.testing.assert_close(fitted["factor"], together["factor"])


def _statistics(data):
    centred = data - data.mean(1, keepdim=True)
    rows = torch.full((len(data),), data.shape[1], dtype=torch.float64)
    return {"rows": rows, "mean": data.mean(1), "scatter_factor": torch.linalg.cholesky(centred.mT @ centred)}


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_distances_are_those_of_the_textbook(dimension):
    gaussian = estimator(dimension=dimension, replicates=4)
    fitted = one_fit(gaussian, 8, "samples")
    measures = measured(gaussian, fitted.state)
    true = np.array(COVARIANCE)[:dimension, :dimension]
    for replicate in range(4):
        mean = fitted.state["mean"][replicate].numpy() - MEAN[:dimension]
        found = covariance_of(fitted.state)[replicate].numpy()
        root = sqrtm(true)
        bures = np.trace(true) + np.trace(found) - 2 * np.trace(sqrtm(root @ found @ root)).real
        inverse = np.linalg.inv(found)
        divergence = 0.5 * (
            np.trace(inverse @ true)
            + mean @ inverse @ mean
            - dimension
            + np.linalg.slogdet(found @ np.linalg.inv(true))[1]
        )
        expected = {
            "mean_error": np.linalg.norm(mean),
            "squared_mean_error": mean @ mean,
            "standard_deviation_error": np.sqrt(bures),
            "squared_wasserstein": mean @ mean + bures,
            "variance": np.trace(found),
            "spread_about_true_mean": np.trace(found) + mean @ mean,
            "log_determinant": np.linalg.slogdet(found)[1],
            "kl_from_true": divergence,
        }
        assert measures.keys() == expected.keys()
        for name, value in expected.items():
            assert float(measures[name][replicate]) == pytest.approx(value, rel=1e-8), name


def test_in_one_dimension_the_distance_of_the_deviations_is_exact_however_small():
    gaussian, deviation = estimator(replicates=2), np.sqrt(COVARIANCE[0][0])
    factor = torch.tensor([[[deviation + 1e-12]], [[0.0]]], dtype=torch.float64)
    state = {"mean": torch.zeros(2, 1, dtype=torch.float64), "factor": factor}
    measures = measured(gaussian, state)
    np.testing.assert_allclose(measures["standard_deviation_error"], [1e-12, deviation], rtol=1e-3)
    assert measures["kl_from_true"][1] == torch.inf


def test_a_singular_covariance_is_reported_with_its_generation():
    gaussian = estimator(dimension=3, replicates=2)
    with pytest.raises(FitFailed, match="generation 3: the covariance of 2 of 2 replicates is singular"):
        gaussian.fit(torch.zeros(2, 8, 3, dtype=torch.float64), None, None, STREAM)


# ---- chains -------------------------------------------------------------------------------------------------------

CHAIN = (
    "model=gaussian",
    "data=gaussian_samples",
    "decoding=none",
    "tracking=none",
    "trainer.threads=1",
    "model.replicates=4000",
    "generations=9",
    "data.rows=12",
    "data.covariance=[[4.0]]",
)
SIZES = {"replace": [12] * 10, "grown_replace": [12, *(12 * t for t in range(1, 10))]}


@pytest.mark.parametrize("regime", ["replace", "grown_replace"])
@pytest.mark.parametrize("synthesis", ["samples", "statistics"])
@pytest.mark.parametrize("kind", ["biased", "unbiased"])
def test_a_chain_keeps_to_theory(chain, kind, synthesis, regime):
    overrides = (f"regime={regime}", f"model.estimator={kind}", f"model.synthesis={synthesis}")
    works = chain(*CHAIN, *overrides).works
    sizes = SIZES[regime]
    expected = {
        "squared_mean_error": 4 * theory.squared_mean_error(sizes, kind),
        "variance": 4 * theory.variance_kept(sizes, kind),
        "spread_about_true_mean": 4 * theory.variance_of_sample(sizes, kind),
        "squared_wasserstein": 4 * theory.squared_wasserstein(sizes, kind),
        "log_determinant": np.log(4) + theory.log_determinant_change(sizes, kind),
    }
    assert _largest_deviation(works, expected) < SIGMAS


@pytest.mark.parametrize("synthesis", ["samples", "statistics"])
@pytest.mark.parametrize("kind", ["biased", "unbiased"])
def test_a_chain_that_accumulates_keeps_to_theory(chain, kind, synthesis):
    overrides = ("regime=accumulate", f"model.estimator={kind}", f"model.synthesis={synthesis}")
    errors, variances = theory.accumulated_moments(12, 10, kind)
    expected = {"squared_mean_error": 4 * errors, "variance": 4 * variances}
    assert _largest_deviation(chain(*CHAIN, *overrides).works, expected) < SIGMAS


def _largest_deviation(works, expected):
    """Of means over replicates from their expectations, in standard errors."""
    return max(
        abs(metrics[f"{name}/mean"] - values[generation]) / (metrics[f"{name}/standard_deviation"] / np.sqrt(4000))
        for generation, metrics in enumerate(work.result.metrics for work in works)
        for name, values in expected.items()
    )


def test_the_report_holds_theory_beside_the_measures_and_draws_both(train):
    import pandas as pd

    finished = train(*CHAIN, "model.replicates=50")
    assert finished.code == 0, finished.err
    table = pd.read_parquet(finished.folder / "gaussian.parquet")
    assert list(table["generation"]) == list(range(10))
    expected = 4 * theory.squared_wasserstein([12] * 10, "unbiased")
    np.testing.assert_allclose(table["theory/squared_wasserstein"], expected)
    measured = [line["squared_wasserstein/mean"] for line in finished.lines()]
    np.testing.assert_allclose(table["squared_wasserstein/mean"], measured)
    drawn = {path.name for path in (finished.folder / "figures").iterdir()}
    assert drawn >= {"estimation_errors.png", "risk_and_variance.png"}


def test_a_chain_without_a_closed_form_is_reported_too(train):
    plane = ("data.mean=[0,0]", "data.covariance=[[1,0],[0,1]]")
    finished = train(*CHAIN, "model.replicates=20", "regime=augment", *plane)
    assert finished.code == 0, finished.err
    assert (finished.folder / "figures" / "risk_and_variance.png").is_file()


def test_a_sweep_over_numbers_of_rows_shows_the_error_of_one_estimate(train, tmp_path):
    from modelcollapse.report import write_sweep_report

    for seed in (0, 1):
        for rows in (10, 100):
            overrides = (f"data.rows={rows}", f"seed={seed}", "model.replicates=50", "tracking=none")
            assert train("experiment=paper_gaussian_one_shot", *overrides).code == 0
    figures = write_sweep_report([tmp_path], tmp_path / "report").figures
    assert {path.name for path in figures} == {"one_shot_errors.png", "one_shot_errors.pdf"}
