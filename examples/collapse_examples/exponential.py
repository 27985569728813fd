"""The family ``exponential``: an estimator, and what is shown of a chain."""

import numpy as np
from matplotlib.figure import Figure

from collapse_examples.estimator import ExponentialEstimator
from collapse_examples.presentation import EXPONENTIAL
from collapse_examples.stages import STAGES
from modelcollapse.data import data_of
from modelcollapse.families.base import ChainReport, ChainTitle
from modelcollapse.families.estimators.family import ChainData, EstimatorFamily
from modelcollapse.figures import style


class ExponentialFamily(EstimatorFamily):
    """An exponential distribution that is fitted to samples of itself; EstimatorFamily does all the rest."""

    name = "exponential"
    stages = STAGES
    headline = EXPONENTIAL.headline

    def build_estimator(self) -> ExponentialEstimator:
        """The estimator that the settings ask for."""
        return ExponentialEstimator(self.model.replicates, data_of(self.data))

    @style.paper()
    def present(self, chain: ChainData, title: ChainTitle) -> ChainReport:
        """A table of every generation, and the drift of the fitted mean beside what is expected under ``replace``."""
        table = chain.table({})
        figure = Figure(figsize=(style.SINGLE_COLUMN, 2.6), layout="constrained")
        axes = figure.subplots()
        low, high = (np.asarray(table[f"log_drift/{level}"]) for level in ("p05", "p95"))
        axes.fill_between(table["generation"], low, high, alpha=0.2, linewidth=0)
        axes.plot(table["generation"], table["log_drift/mean"])
        axes.plot(table["generation"], -table["generation"] / (2 * self.data.rows), **style.THEORY)
        axes.set(xlabel="generation", ylabel="logarithm of the mean")
        style.label(figure, self.figure_text(title), "Band: 5th to 95th percentile. Grey: expected under replace.")
        return ChainReport({"exponential": table}, {}, {"drift_of_the_mean": figure})
