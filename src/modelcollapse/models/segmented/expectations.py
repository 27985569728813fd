"""Which closed form holds for which chain: columns of theory beside the measures, NaN where none is known."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelcollapse import theory
from modelcollapse.regimes import RegimeSettings, Source, compose, count_rows, rows_of, synthetic_rows
from modelcollapse.settings.discrete import CategoricalSamplesSettings
from modelcollapse.settings.gaussian import GaussianSamplesSettings, GaussianSettings

MARGINALS_ROWS = 300
"""Most rows for which exact marginals of a discrete chain are worked out: they cost rows^2 a state and generation."""

Columns = Mapping[str, np.ndarray]
"""Measure -> expected value for every generation, [N + 1]."""


@dataclass(frozen=True)
class Plan:
    """A chain as theory sees it."""

    regime: RegimeSettings
    generations: int
    """Generations after the one trained on real data."""
    rows: int
    """Real rows."""

    def sizes(self) -> list[int] | None:
        """Rows of each fit, where every generation trains on nothing but new samples of the one before; else None."""
        sizes = [self.rows]
        for generation in range(1, self.generations + 1):
            draws = compose(self.regime, generation, seed=0)
            latest = Source("synthetic", generation - 1)
            if [draw.sources for draw in draws] != [(latest,)]:
                return None
            written = rows_of(synthetic_rows(self.regime, generation - 1), self.rows)
            sizes += count_rows(draws, {latest: written}, self.rows)
        return sizes

    def accumulates(self) -> bool:
        """Whether every generation trains on all sets so far."""
        return self.regime.pool == "all" and self.regime.window is None and self.regime.weighting == "none"


def gaussian_expectations(plan: Plan, model: GaussianSettings, data: GaussianSamplesSettings) -> Columns:
    """Expected measures of a Gaussian chain, units of the data; distances of covariances in one dimension only."""
    trace, dimension = sum(row[i] for i, row in enumerate(data.covariance)), len(data.mean)
    unknown = np.full(plan.generations + 1, np.nan)
    names = ("squared_mean_error", "variance", "spread_about_true_mean", "log_determinant", "squared_wasserstein")
    columns = dict.fromkeys((*names, "squared_wasserstein_first_order"), unknown)
    sizes = plan.sizes()
    if sizes is not None:
        error, variance = (
            theory.squared_mean_error(sizes, model.estimator),
            theory.variance_kept(sizes, model.estimator),
        )
        change = theory.log_determinant_change(sizes, model.estimator, dimension)
        columns["log_determinant"] = np.linalg.slogdet(np.array(data.covariance))[1] + change
        if dimension == 1:
            columns["squared_wasserstein"] = trace * theory.squared_wasserstein(sizes, model.estimator)
            columns["squared_wasserstein_first_order"] = trace * theory.squared_wasserstein_first_order(sizes)
    elif plan.accumulates() and dimension == 1:
        error, variance = theory.accumulated_moments(plan.rows, plan.generations + 1, model.estimator)
    else:
        return columns
    moments = {"squared_mean_error": error, "variance": variance, "spread_about_true_mean": error + variance}
    return columns | {name: trace * values for name, values in moments.items()}


def discrete_expectations(plan: Plan, data: CategoricalSamplesSettings) -> Columns:
    """Expected measures of a discrete chain."""
    columns = dict.fromkeys(
        ("survivors", "entropy", "heterozygosity", "single", "total_variation"), np.full(plan.generations + 1, np.nan)
    )
    sizes, true = plan.sizes(), theory.zipf(data.states, data.zipf_exponent)
    if sizes is None:
        return columns
    columns["heterozygosity"] = theory.heterozygosity(true, sizes)
    if set(sizes) == {plan.rows} and plan.rows <= MARGINALS_ROWS:
        marginals = theory.resampled_marginals(true, plan.rows, len(sizes))
        expected = (theory.expected_survivors, theory.expected_entropy, theory.absorbed_share)
        values = np.array([[of(item) for of in expected] for item in marginals])
        columns |= dict(zip(("survivors", "entropy", "single"), values.T, strict=True))
    return columns
