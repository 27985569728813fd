"""The family of Gaussian mixtures: its estimator, figures and tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from modelcollapse.families.base import ChainReport, ChainTitle
from modelcollapse.families.estimators.estimator import State
from modelcollapse.families.estimators.family import ChainData, EstimatorFamily
from modelcollapse.families.gaussian_mixture.distances import sample
from modelcollapse.families.gaussian_mixture.estimator import GaussianMixtureEstimator, mixtures_of
from modelcollapse.families.gaussian_mixture.presentation import GAUSSIAN_MIXTURE
from modelcollapse.families.gaussian_mixture.stages import STAGES
from modelcollapse.seeding import Stream

MOST_DRAWN = 1000
"""Samples of a generation that figures show."""


class GaussianMixtureFamily(EstimatorFamily):
    """Shumailov et al. (2024), the Gaussian mixture."""

    name = "gaussian_mixture"
    stages = STAGES
    headline = GAUSSIAN_MIXTURE.headline

    def build_estimator(self) -> GaussianMixtureEstimator:
        """The estimator of the model and data settings."""
        return GaussianMixtureEstimator(self.model, self.data)

    def present(self, chain: ChainData, title: ChainTitle) -> ChainReport:
        """Distances of every generation; samples and components of the first replicate in some."""
        from modelcollapse.families.gaussian_mixture import figures

        text = self.figure_text(title)
        table = chain.table({}).assign(rows=self.data.rows)
        drawn = {"distances_by_generation": figures.distances_by_generation(table, text)} if len(table) > 1 else {}
        tables = {"gaussian_mixture": table}
        if len(self.data.mean) > 1:
            generations = _drawn_generations(int(chain.generations[-1]), figures.PAPER_GENERATIONS)
            states = {generation: chain.state(generation) for generation in generations}
            samples = pd.concat([self._samples(generation, state) for generation, state in states.items()])
            components = pd.concat([_component_table(generation, state) for generation, state in states.items()])
            drawn["samples_by_generation"] = figures.samples_by_generation(samples, components, text)
            drawn["components_over_generations"] = figures.components_over_generations(components, text)
            tables["components"] = components
        return ChainReport(tables, {}, drawn)

    def _samples(self, generation: int, state: State) -> pd.DataFrame:
        """Samples of the first replicate, in the first two dimensions."""
        rows = min(self.data.rows, MOST_DRAWN)
        columns = sample(mixtures_of(state).select(slice(1)), rows, Stream(self.seed, generation, "figure").numpy())
        return pd.DataFrame({"generation": generation, "x": columns[0, 0], "y": columns[0, 1]})


def _drawn_generations(last: int, paper: Sequence[int]) -> list[int]:
    """The paper's generations, or as many evenly spread where the chain is too short for most of them."""
    shown = [generation for generation in paper if generation <= last]
    return (
        shown
        if len(shown) >= len(paper) - 1
        else np.unique(np.linspace(0, last, len(paper)).round()).astype(int).tolist()
    )


def _component_table(generation: int, state: State) -> pd.DataFrame:
    """The components of the first replicate, a row each, in the first two dimensions."""
    weights, means, covariances = (part[0] for part in mixtures_of(state))
    return pd.DataFrame(
        {
            "generation": generation,
            "component": np.arange(1, len(weights) + 1),
            "weight": weights,
            "mean_x": means[:, 0],
            "mean_y": means[:, 1],
            "variance_x": covariances[:, 0, 0],
            "variance_y": covariances[:, 1, 1],
            "covariance_xy": covariances[:, 0, 1],
        }
    )
