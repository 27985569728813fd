"""The closed forms against values worked out elsewhere, and against plain loops over samples."""

import ast
import re

import numpy as np
import pytest

from modelcollapse.data.settings import CategoricalSamplesSettings, GaussianSamplesSettings, zipf
from modelcollapse.families.discrete import theory as discrete_theory
from modelcollapse.families.estimators.theory import Plan
from modelcollapse.families.gaussian import theory as gaussian_theory
from modelcollapse.families.gaussian.settings import GaussianSettings
from modelcollapse.regimes import GeneralSettings, RegimeSettings

SIGMAS = 5.0
"""Bound of every Monte Carlo comparison, in standard errors over independent replicates."""


def gaussian_loop(sizes, replicates, correction, seed):
    """The usual loop: draw M samples, take their moments, draw from those. Per fit: means and deviations, [R] each."""
    generator = np.random.default_rng(seed)
    mean, deviation = np.zeros(replicates), np.ones(replicates)
    for rows in sizes:
        samples = mean[:, None] + deviation[:, None] * generator.standard_normal((replicates, rows))
        mean, deviation = samples.mean(axis=1), samples.std(axis=1, ddof=correction)
        yield mean, deviation


def standard_errors(values, expected):
    """How far the mean of independent values lies from what is expected."""
    return abs(values.mean() - expected) / (values.std(ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize(("rows", "value"), [(2, 0.797885), (3, 0.886227), (10, 0.972659), (100, 0.997478)])
def test_c4_has_the_values_of_the_tables(rows, value):
    assert gaussian_theory.c4(rows) == pytest.approx(value, abs=1e-6)


def test_c4_goes_on_smoothly_where_its_series_takes_over():
    below, above = (1 - gaussian_theory.c4(rows) for rows in (gaussian_theory.MANY_ROWS, gaussian_theory.MANY_ROWS + 1))
    assert below * gaussian_theory.MANY_ROWS == pytest.approx(above * (gaussian_theory.MANY_ROWS + 1), rel=1e-6)


def test_the_risk_at_the_end_of_the_papers_chain_lies_well_below_its_first_order():
    sizes = [100] * 1000
    assert gaussian_theory.squared_wasserstein(sizes, "unbiased")[-1] == pytest.approx(11.84, abs=0.005)
    assert gaussian_theory.squared_wasserstein_first_order(sizes)[-1] == pytest.approx(15.0)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_the_first_order_is_what_is_left_for_many_rows(estimator):
    sizes = [10**6] * 10
    np.testing.assert_allclose(
        gaussian_theory.squared_wasserstein(sizes, estimator),
        gaussian_theory.squared_wasserstein_first_order(sizes),
        rtol=1e-4,
    )


def test_with_sizes_that_grow_fast_enough_the_risk_stays_finite_and_else_it_does_not():
    fits = np.arange(1, 20_001)
    squares, lines = (gaussian_theory.squared_wasserstein_first_order(sizes) for sizes in (100 * fits**2, 100 * fits))
    assert squares[-1] < 1.5 * np.pi**2 / 600
    assert lines[-1] - lines[9_999] == pytest.approx(1.5 * np.log(2) / 100, rel=1e-3)


@pytest.mark.parametrize("sizes", [[6] * 8, [4, 8, 12, 16, 20]], ids=["equal sizes", "growing sizes"])
@pytest.mark.parametrize(("estimator", "correction"), [("biased", 0), ("unbiased", 1)])
def test_the_moments_of_a_gaussian_chain_are_those_of_a_loop_over_samples(sizes, estimator, correction):
    expected = {
        "mean": gaussian_theory.squared_mean_error(sizes, estimator),
        "variance": gaussian_theory.variance_kept(sizes, estimator),
        "deviation": gaussian_theory.deviation_kept(sizes, estimator),
        "sample": gaussian_theory.variance_of_sample(sizes, estimator),
        "risk": gaussian_theory.squared_wasserstein(sizes, estimator),
        "logarithm": gaussian_theory.log_determinant_change(sizes, estimator),
    }
    for fit, (mean, deviation) in enumerate(gaussian_loop(sizes, 60_000, correction, seed=1)):
        measured = {
            "mean": mean**2,
            "variance": deviation**2,
            "deviation": deviation,
            "sample": mean**2 + deviation**2,
            "risk": mean**2 + (deviation - 1) ** 2,
            "logarithm": 2 * np.log(deviation),
        }
        errors = {name: standard_errors(values, expected[name][fit]) for name, values in measured.items()}
        assert max(errors.values()) < SIGMAS, (fit, errors)


def test_the_comparison_distinguishes_the_estimators():
    *_, (_, deviation) = gaussian_loop([6] * 8, 60_000, 0, seed=1)
    assert standard_errors(deviation**2, gaussian_theory.variance_kept([6] * 8, "unbiased")[-1]) > 2 * SIGMAS
    assert standard_errors(deviation, gaussian_theory.deviation_kept([6] * 8, "unbiased")[-1]) > 2 * SIGMAS


def test_the_determinant_in_three_dimensions_is_that_of_a_loop_over_samples():
    generator = np.random.default_rng(2)
    samples = generator.standard_normal((20_000, 7, 3))
    centred = samples - samples.mean(axis=1, keepdims=True)
    logarithms = np.linalg.slogdet(np.swapaxes(centred, 1, 2) @ centred / 6)[1]
    assert standard_errors(logarithms, gaussian_theory.log_determinant_change([7], "unbiased", 3)[0]) < SIGMAS


@pytest.mark.parametrize(("estimator", "correction"), [("biased", 0), ("unbiased", 1)])
def test_the_moments_under_accumulation_are_those_of_a_loop_over_samples(estimator, correction):
    rows, fits, replicates = 5, 6, 30_000
    generator = np.random.default_rng(3)
    errors, variances = gaussian_theory.accumulated_moments(rows, fits, estimator)
    pool = generator.standard_normal((replicates, rows))
    for fit in range(fits):
        mean, deviation = pool.mean(axis=1), pool.std(axis=1, ddof=correction)
        assert standard_errors(mean**2, errors[fit]) < SIGMAS
        assert standard_errors(deviation**2, variances[fit]) < SIGMAS
        new = mean[:, None] + deviation[:, None] * generator.standard_normal((replicates, rows))
        pool = np.concatenate([pool, new], axis=1)


@pytest.mark.parametrize("counts", [(5, 3, 2), (2, 6, 1), (4, 0, 2)], ids=str)
@pytest.mark.parametrize(("estimator", "correction"), [("biased", 0), ("unbiased", 1)])
def test_the_moments_under_the_general_form_are_those_of_a_loop_over_samples(counts, estimator, correction):
    (new, kept, real), fits, replicates = counts, 5, 30_000
    rows = new + kept + real
    generator = np.random.default_rng(4)
    errors, variances = gaussian_theory.general_moments(counts, fits, estimator)
    first = generator.standard_normal((replicates, rows))
    held = first
    for fit in range(fits):
        mean, deviation = held.mean(axis=1), held.std(axis=1, ddof=correction)
        assert standard_errors(mean**2, errors[fit]) < SIGMAS
        assert standard_errors(deviation**2, variances[fit]) < SIGMAS
        newest = mean[:, None] + deviation[:, None] * generator.standard_normal((replicates, new))
        drawn = [generator.permuted(part, axis=1)[:, :count] for part, count in ((held, kept), (first, real))]
        held = np.concatenate([newest, *drawn], axis=1)


def test_accumulation_bounds_the_error_of_the_mean():
    errors, _ = gaussian_theory.accumulated_moments(10, 20_000, "biased")
    assert errors[-1] < gaussian_theory.ACCUMULATION_LIMIT / 10
    np.testing.assert_allclose(errors, 1 - np.cumprod(1 - 1 / (10 * np.arange(1.0, 20_001) ** 2)), rtol=1e-9)


# ---- discrete distributions ---------------------------------------------------------------------------------------

TRUE = zipf(6, 1.2)


@pytest.fixture(scope="module")
def marginals():
    """Of 12 draws from 6 states, after 1 to 400 fits."""
    return list(discrete_theory.resampled_marginals(TRUE, 12, 400))


def test_marginals_are_distributions_that_keep_every_expected_frequency(marginals):
    frequencies = np.linspace(0, 1, 13)
    for marginal in marginals:
        np.testing.assert_allclose(marginal.sum(axis=1), 1, rtol=1e-10)
        np.testing.assert_allclose(marginal @ frequencies, TRUE, rtol=1e-10)


def test_marginals_give_the_closed_form_of_the_heterozygosity(marginals):
    squares = np.linspace(0, 1, 13) ** 2
    found = [1 - (marginal @ squares).sum() for marginal in marginals]
    np.testing.assert_allclose(found, discrete_theory.heterozygosity(TRUE, [12] * 400), rtol=1e-9, atol=1e-12)


def test_the_survivors_of_the_first_fit_have_a_closed_form_of_their_own(marginals):
    assert discrete_theory.expected_survivors(marginals[0]) == pytest.approx((1 - (1 - TRUE) ** 12).sum())


def test_in_the_end_one_state_is_left_and_each_is_it_with_its_true_probability(marginals):
    np.testing.assert_allclose(marginals[-1][:, -1], discrete_theory.end_probabilities(TRUE), rtol=1e-9)
    assert discrete_theory.expected_survivors(marginals[-1]) == pytest.approx(1)
    assert discrete_theory.expected_entropy(marginals[-1]) == pytest.approx(0, abs=1e-9)
    assert discrete_theory.absorbed_share(marginals[-1]) == pytest.approx(1)


def test_the_time_until_one_state_is_left_is_that_of_the_diffusion_for_many_rows():
    rows = 80
    shares = [
        discrete_theory.absorbed_share(marginal) for marginal in discrete_theory.resampled_marginals(TRUE, rows, 1500)
    ]
    exact = 1 + (1 - np.array(shares)).sum()
    assert shares[-1] == pytest.approx(1, abs=1e-6)
    assert discrete_theory.diffusion_absorption_time(TRUE, rows) == pytest.approx(exact, rel=0.03)
    assert discrete_theory.absorption_time(TRUE, rows) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(("rows", "expected"), [(1, 1.0), (2, 2.24)])
def test_the_time_until_one_state_is_left_is_exact_for_few_rows(rows, expected):
    """Of two rows, the first fit ends it with 1 - 0.62, and each later one with one half: 1 + 0.62 * 2."""
    assert discrete_theory.absorption_time([0.5, 0.3, 0.2], rows) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("regime", "rows", "known"),
    [
        (RegimeSettings("replace", latest=1.0), 12, {"survivors", "entropy", "heterozygosity", "single"}),
        (RegimeSettings("replace", latest=1.0), 301, {"heterozygosity"}),
        (RegimeSettings("grown", latest=1.0, growth="linear"), 12, {"heterozygosity"}),
        (RegimeSettings("kept", real=0.5, latest=0.5), 12, set()),
    ],
    ids=["equal sizes", "many rows", "growing sizes", "real rows"],
)
def test_what_is_expected_of_a_chain_is_known_where_its_conditions_hold(regime, rows, known):
    data = CategoricalSamplesSettings("categorical_samples", "Zipf", rows, 6, 1.2)
    columns = discrete_theory.discrete_expectations(Plan(regime, 4, rows), data)
    assert {len(column) for column in columns.values()} == {5}
    assert {name for name, column in columns.items() if not np.isnan(column).all()} == known
    assert not any(np.isnan(columns[name]).any() for name in known)


def gaussian_expectations(covariance, regime, rows=12):
    model = GaussianSettings("Gaussian", 4, 100, "gaussian", "biased", "samples")
    data = GaussianSamplesSettings("gaussian_samples", "N", rows, (0.5,) * len(covariance), covariance)
    return gaussian_theory.gaussian_expectations(Plan(regime, 4, rows), model, data)


@pytest.mark.parametrize(
    "regime",
    [
        RegimeSettings("replace", latest=1.0),
        RegimeSettings("grown", latest=1.0, growth="linear"),
        RegimeSettings("accumulate", pool="all"),
        GeneralSettings("general", 0.5, 0.25, 0.25),
    ],
    ids=lambda regime: regime.name,
)
def test_what_is_expected_of_a_gaussian_is_in_the_units_of_the_data(regime):
    unit, other = (gaussian_expectations(((variance,),), regime) for variance in (1.0, 2.5))
    for name, column in unit.items():
        assert len(column) == 5
        expected = column + np.log(2.5) if name == "log_determinant" else 2.5 * column
        np.testing.assert_allclose(other[name], expected, err_msg=name)
    np.testing.assert_allclose(unit["spread_about_true_mean"], unit["squared_mean_error"] + unit["variance"])


def test_what_is_expected_of_a_gaussian_in_the_plane_follows_from_its_trace_and_determinant():
    covariance, regime = ((2.0, 0.6), (0.6, 1.5)), RegimeSettings("replace", latest=1.0)
    columns, line = gaussian_expectations(covariance, regime), gaussian_expectations(((1.0,),), regime)
    for name in ("squared_mean_error", "variance", "spread_about_true_mean"):
        np.testing.assert_allclose(columns[name], 3.5 * line[name])
    change = gaussian_theory.log_determinant_change([12] * 5, "biased", 2)
    np.testing.assert_allclose(columns["log_determinant"], np.log(2.64) + change)
    assert np.isnan(columns["squared_wasserstein"]).all()


def test_marginals_are_those_of_a_loop_over_samples(marginals):
    generator = np.random.default_rng(4)
    frequencies = np.broadcast_to(TRUE, (40_000, 6))
    for fit in range(8):
        frequencies = generator.multinomial(12, frequencies) / 12
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.nansum(frequencies * np.log(frequencies), axis=1)
        assert standard_errors(entropy, discrete_theory.expected_entropy(marginals[fit])) < SIGMAS
        assert (
            standard_errors((frequencies > 0).sum(axis=1), discrete_theory.expected_survivors(marginals[fit])) < SIGMAS
        )


# ---- the page -------------------------------------------------------------------------------------------------


def test_every_closed_form_is_on_the_page_under_its_module(repository):
    page = (repository / "docs" / "theory.md").read_text(encoding="utf-8")
    sections = page.split("\n## ")
    for path in sorted((repository / "src" / "modelcollapse" / "families").glob("*/theory.py")):
        module = f"modelcollapse.families.{path.parent.name}.theory"
        (section,) = [each for each in sections if f"`{module}`" in each]
        public = [node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(node, "name")]
        missing = [name for name in public if not name.startswith("_") and f"`{name}`" not in section]
        assert missing == [], f"docs/theory.md says nothing of {module}.{missing[0]}"


def test_tests_that_the_page_names_are_there(repository):
    page = (repository / "docs" / "theory.md").read_text(encoding="utf-8")
    named = re.findall(r"\]\((\.\./tests/[^)]+)\)", page)
    assert len(named) > 10
    assert [path for path in named if not (repository / "docs" / path).is_file()] == []
