"""Linear and logistic regression: fits against scikit-learn, measures against quadrature, theory against loops."""

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from modelcollapse.data.labelled_samples import LinearSamplesSettings, LogisticSamplesSettings
from modelcollapse.families.estimators.estimator import FitFailed
from modelcollapse.families.estimators.theory import Plan
from modelcollapse.families.linear_regression import theory
from modelcollapse.families.linear_regression.estimator import LinearRegressionEstimator
from modelcollapse.families.linear_regression.settings import LinearRegressionSettings
from modelcollapse.families.logistic_regression.estimator import LogisticRegressionEstimator
from modelcollapse.families.logistic_regression.quadrature import expected_slope
from modelcollapse.families.logistic_regression.settings import LogisticRegressionSettings
from modelcollapse.families.logistic_regression.theory import (
    inverse_information_trace,
    logistic_regression_expectations,
)
from modelcollapse.regimes import RegimeSettings
from modelcollapse.seeding import Stream

SIGMAS = 4.0
STREAM = Stream(3, 0, "real")
REPLACE, ACCUMULATE = RegimeSettings("replace"), RegimeSettings("accumulate", pool="all")


def linear(dimension=4, rows=30, *, replicates=3, ridge=0.0, features="same", noise=0.5, signal=1.5):
    model = LinearRegressionSettings("linear", replicates, 10, "linear_regression", ridge, features, "samples")
    data = LinearSamplesSettings("linear_samples", "linear", rows, dimension, signal, noise)
    return model, data


def logistic(dimension=3, rows=200, *, replicates=3, ridge=0.0, signal=1.0):
    model = LogisticRegressionSettings("logistic", replicates, 10, "logistic_regression", ridge, "same")
    return model, LogisticSamplesSettings("logistic_samples", "logistic", rows, dimension, signal)


# ---- linear -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_a_linear_fit_is_that_of_scikit_learn(ridge, weighted):
    model, data = linear(ridge=ridge)
    estimator = LinearRegressionEstimator(model, data)
    rows = estimator.real(data.rows, STREAM)
    weights = torch.linspace(0.5, 1.5, data.rows, dtype=torch.float64) if weighted else None
    found = estimator.fit(rows, weights, None, STREAM).state["weights"]
    rival = Ridge(alpha=ridge * data.rows, fit_intercept=False) if ridge else LinearRegression(fit_intercept=False)
    for replicate, row in enumerate(rows.numpy()):
        rival.fit(row[:, :-1], row[:, -1], None if weights is None else weights.numpy())
        np.testing.assert_allclose(found[replicate], rival.coef_, rtol=1e-9)


def test_of_the_weights_that_fit_equally_well_those_of_least_norm_are_found():
    model, data = linear(dimension=12, rows=5)
    estimator = LinearRegressionEstimator(model, data)
    rows = estimator.real(data.rows, STREAM)
    found = estimator.fit(rows, None, None, STREAM).state["weights"]
    for replicate, row in enumerate(rows.numpy()):
        np.testing.assert_allclose(found[replicate], np.linalg.pinv(row[:, :-1]) @ row[:, -1], rtol=1e-8)


@pytest.mark.parametrize("features", ["same", "fresh"])
def test_a_model_labels_the_features_of_the_real_rows_or_fresh_ones(features):
    model, data = linear(features=features, noise=0.0)
    estimator = LinearRegressionEstimator(model, data)
    state = {"weights": torch.arange(12, dtype=torch.float64).view(3, 4)}
    real, written = estimator.real(8, STREAM), estimator.draw(state, 8, Stream(3, 2, "synthesis"))
    assert torch.equal(real[..., :-1], written[..., :-1]) is (features == "same")
    torch.testing.assert_close(written[..., -1], (written[..., :-1] * state["weights"][:, None]).sum(-1))
    longer = estimator.draw(state, 20, Stream(3, 2, "synthesis"))
    assert torch.equal(longer[:, :8, :-1], written[..., :-1])


@pytest.mark.parametrize("features", ["same", "fresh"])
@pytest.mark.parametrize("regime", ["accumulate", "augment"])
def test_sums_give_the_weights_that_the_rows_give(chain, regime, features):
    words = ("model=linear_regression", "data=linear_samples", "decoding=none", "tracking=none", "trainer.threads=1")
    words += ("model.replicates=5", "data.rows=25", "generations=4", f"regime={regime}", f"model.features={features}")
    by_sums, by_rows = (chain(*words, f"model.synthesis={kind}") for kind in ("statistics", "samples"))
    for left, right in zip(by_sums.works, by_rows.works, strict=True):
        assert left.result.metrics == pytest.approx(right.result.metrics, rel=1e-9)


def linear_loop(settings, fits, *, accumulates, replicates=2500, seed=5):
    """The experiment as one would write it, row by row: after each fit |w - w*|^2, |w|^2 and |w - w_0|^2, [R, 3]."""
    model, data = settings
    generator, true = np.random.default_rng(seed), data.true_weights
    found = np.zeros((fits, replicates, 3))
    for replicate in range(replicates):
        real = generator.standard_normal((data.rows, data.dimension))
        first, weights, features, labels = true, true, [], []
        for fit in range(fits):
            inputs = real if model.features == "same" or fit == 0 else generator.standard_normal(real.shape)
            outputs = inputs @ weights + data.noise * generator.standard_normal(data.rows)
            features, labels = ([*features, inputs], [*labels, outputs]) if accumulates else ([inputs], [outputs])
            weights = np.linalg.lstsq(np.concatenate(features), np.concatenate(labels), rcond=None)[0]
            first = weights if fit == 0 else first
            found[fit, replicate] = [np.sum(each**2) for each in (weights - true, weights, weights - first)]
    return found


@pytest.mark.parametrize("features", ["same", "fresh"])
@pytest.mark.parametrize(("regime", "dimension"), [(REPLACE, 4), (ACCUMULATE, 4), (REPLACE, 50)])
def test_errors_of_a_linear_chain_are_those_of_a_loop_over_rows(regime, dimension, features):
    settings = linear(dimension=dimension, features=features, rows=20)
    expected = theory.linear_regression_expectations(Plan(regime, 3, 20), *settings)
    loop = linear_loop(settings, 4, accumulates=regime is ACCUMULATE)
    for place, name in enumerate(("test_error", "squared_norm", "squared_drift")):
        if np.isnan(expected[name]).all():
            assert (name, dimension) == ("squared_drift", 50)
            continue
        for fit in range(4):
            values = loop[fit, :, place]
            error = values.std(ddof=1) / np.sqrt(len(values))
            assert abs(values.mean() - expected[name][fit]) <= SIGMAS * error
    # A constant that is wrong by 5 % is found.
    errors = loop[3, :, 0]
    assert abs(errors.mean() - 1.05 * expected["test_error"][3]) > errors.std(ddof=1) / np.sqrt(len(errors))


@pytest.mark.parametrize("features", ["same", "fresh"])
@pytest.mark.parametrize("regime", [REPLACE, ACCUMULATE], ids=["replace", "accumulate"])
def test_a_chain_meets_its_closed_forms(chain, regime, features):
    words = ("model=linear_regression", "data=linear_samples", "decoding=none", "tracking=none", "trainer.threads=1")
    words += ("model.replicates=20000", "data.rows=20", "data.dimension=3", "generations=4", f"regime={regime.name}")
    works = chain(*words, f"model.features={features}").works
    model, data = linear(3, 20, features=features, noise=1.0, signal=1.0)
    expected = theory.linear_regression_expectations(Plan(regime, 4, 20), model, data)
    for name, values in expected.items():
        for work, value in zip(works, values, strict=True):
            metrics = work.result.metrics
            error = metrics[f"{name}/standard_deviation"] / np.sqrt(20_000)
            assert abs(metrics[f"{name}/mean"] - value) <= SIGMAS * error
            assert value == 0 or error < 0.0125 * value


def test_accumulation_stays_below_a_bound_and_replacement_does_not():
    accumulated = theory.accumulated_error(100, 10, 1.0, 10_000, are_fresh=False)
    assert accumulated[-1] / accumulated[0] == pytest.approx(np.pi**2 / 6, rel=1e-3)
    assert theory.accumulated_error(100, 10, 1.0, 10_000, are_fresh=True)[-1] < accumulated[-1]
    assert theory.replaced_error([100] * 50, 10, 2.0)[-1] == pytest.approx(50 * 4 * 10 / 89)


# ---- logistic -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["equal rows", "weighted rows"])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_a_logistic_fit_is_that_of_scikit_learn(ridge, weighted):
    model, data = logistic(ridge=ridge)
    estimator = LogisticRegressionEstimator(model, data)
    rows = estimator.real(data.rows, STREAM)
    weights = torch.linspace(0.5, 1.5, data.rows, dtype=torch.float64) if weighted else None
    fitted = estimator.fit(rows, weights, None, STREAM)
    strength = 1 / (2 * ridge * data.rows) if ridge else np.inf
    rival = LogisticRegression(C=strength, fit_intercept=False, tol=1e-12, max_iter=10_000)
    for replicate, row in enumerate(rows.numpy()):
        rival.fit(row[:, :-1], row[:, -1], None if weights is None else weights.numpy())
        np.testing.assert_allclose(fitted.state["weights"][replicate], rival.coef_[0], rtol=1e-5)
    assert (fitted.diagnostics["iterations"] > 1).all()


def test_labels_that_a_plane_separates_have_no_fit_without_a_ridge():
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 30, 3)))
    rows = torch.cat([features, (features[..., :1] > 0).double()], dim=2)
    model, data = logistic()
    with pytest.raises(FitFailed, match=r"a plane separates the labels .* model\.ridge above 0"):
        LogisticRegressionEstimator(model, data).fit(rows, None, None, STREAM)
    model, data = logistic(ridge=0.01)
    assert LogisticRegressionEstimator(model, data).fit(rows, None, None, STREAM).state["weights"].isfinite().all()


def test_what_is_measured_of_a_classifier_is_what_quadrature_gives():
    model, data = logistic(dimension=2, replicates=1, signal=1.3)
    estimator = LogisticRegressionEstimator(model, data)
    weights = np.array([0.4, -1.1])
    states = {"weights": torch.from_numpy(weights)[None, None]}
    found = {name: float(values) for name, values in estimator.measure(states, {}, [STREAM]).items()}
    true = data.true_weights

    def divergence(y, x):
        p, q = (1 / (1 + np.exp(-(x * w[0] + y * w[1]))) for w in (true, weights))
        kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        return kl * stats.norm.pdf(x) * stats.norm.pdf(y)

    assert found["kl_from_true"] == pytest.approx(integrate.dblquad(divergence, -8, 8, -8, 8, epsabs=1e-9)[0], abs=1e-7)
    points = np.random.default_rng(1).standard_normal((400_000, 2))
    differ = ((points @ true > 0) != (points @ weights > 0)).mean()
    assert found["disagreement"] == pytest.approx(differ, abs=4 * np.sqrt(differ / 400_000))
    assert found["squared_error"] == pytest.approx(((weights - true) ** 2).sum())


@pytest.mark.parametrize("signal", [0.5, 1.3, 30.0])
def test_divergences_of_flat_and_of_steep_models_are_integrals_over_one_coordinate(signal):
    model, data = logistic(dimension=2, replicates=1, signal=signal)
    estimator, factor = LogisticRegressionEstimator(model, data), 0.5
    states = {"weights": torch.from_numpy(factor * np.asarray(data.true_weights))[None, None]}

    def divergence(z):
        logits = np.array([1, factor]) * signal * z
        positive, negative = special.log_expit(logits), special.log_expit(-logits)
        kl = np.exp(positive[0]) * (positive[0] - positive[1]) + np.exp(negative[0]) * (negative[0] - negative[1])
        return kl * stats.norm.pdf(z)

    expected = integrate.quad(divergence, -8, 8, points=[-1 / signal, 0, 1 / signal], limit=500)[0]
    found = estimator.measure(states, {}, [STREAM])["kl_from_true"]
    assert float(found) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("steepness", [0.5, 3.0, 30.0])
@pytest.mark.parametrize("power", [0, 2])
def test_slopes_are_expected_as_numerical_integration_has_them(steepness, power):
    def slope(u):
        return special.expit(u) * special.expit(-u) * (u / steepness) ** power * stats.norm.pdf(u / steepness)

    expected = 2 / steepness * integrate.quad(slope, 0, 60, limit=500)[0]
    assert expected_slope(steepness, power) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("regime", [REPLACE, ACCUMULATE], ids=["replace", "accumulate"])
def test_errors_of_a_logistic_chain_are_those_of_first_order_where_rows_are_many(chain, regime):
    words = ("model=logistic_regression", "data=logistic_samples", "decoding=none", "tracking=none")
    words += ("trainer.threads=1", "model.replicates=300", "data.rows=1000", "data.dimension=3", "generations=2")
    works = chain(*words, f"regime={regime.name}").works
    model, data = logistic(dimension=3, rows=1000)
    expected = logistic_regression_expectations(Plan(regime, 2, 1000), model, data)["squared_error"]
    for work, value in zip(works, expected, strict=True):
        metrics = work.result.metrics
        error = metrics["squared_error/standard_deviation"] / np.sqrt(300)
        # Terms of second order are two in a hundred here.
        assert abs(metrics["squared_error/mean"] - value) <= SIGMAS * error + 0.02 * value


def test_information_of_weights_of_norm_zero_is_a_quarter():
    assert inverse_information_trace(0.0, 5) == pytest.approx(20.0)
