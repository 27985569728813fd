"""The family of kernel density estimates: its estimator, figures and tables."""

import numpy as np
import pandas as pd

from modelcollapse.families.base import ChainReport, ChainTitle
from modelcollapse.families.estimators.family import ChainData, EstimatorFamily
from modelcollapse.families.kernel_density.estimator import KernelDensityEstimator
from modelcollapse.families.kernel_density.presentation import KERNEL_DENSITY
from modelcollapse.families.kernel_density.stages import STAGES
from modelcollapse.families.kernel_density.theory import kernel_density_expectations
from modelcollapse.seeding import Stream

DRAWN_GENERATIONS = 5
MOST_DRAWN = 500


class KernelDensityFamily(EstimatorFamily):
    """Kazdan et al. (2024), kernel density estimation."""

    name = "kernel_density"
    stages = STAGES
    headline = KERNEL_DENSITY.headline

    def build_estimator(self) -> KernelDensityEstimator:
        """The estimator of the model and data settings."""
        return KernelDensityEstimator(self.model, self.data)

    def present(self, chain: ChainData, title: ChainTitle) -> ChainReport:
        """Losses and variances of every generation, theory beside them; what one replicate writes in some."""
        from modelcollapse.families.estimators.figures import measures_and_theory, panels_of
        from modelcollapse.families.kernel_density import figures

        text = self.figure_text(title)
        theory = self.expected(kernel_density_expectations(self.plan(chain), self.model, self.data))
        table = chain.table(theory).assign(rows=self.data.rows)
        panels = {**panels_of(KERNEL_DENSITY.figures[0]), "reached": "share of test points reached"}
        drawn = {"density_estimates": measures_and_theory(table, text, panels)}
        if self.data.numbers_per_row > 1:
            drawn["rows_by_generation"] = figures.rows_by_generation(self._rows(chain), text)
        return ChainReport({"kernel_density": table}, {}, drawn)

    def _rows(self, chain: ChainData) -> pd.DataFrame:
        """What the first replicate writes in some generations, in the first two coordinates."""
        last = int(chain.generations[-1])
        shown = np.unique(np.linspace(0, last, DRAWN_GENERATIONS).round()).astype(int).tolist()
        return pd.concat([self._rows_of(chain, generation) for generation in shown])

    def _rows_of(self, chain: ChainData, generation: int) -> pd.DataFrame:
        state, stream = chain.state(generation), Stream(self.seed, generation, "synthesis")
        rows = min(self.model.centres or self.data.rows, MOST_DRAWN)
        points = self.build_estimator().draw(state, rows, stream)[0]
        return pd.DataFrame({"generation": generation, "x": points[:, 0], "y": points[:, 1]})
