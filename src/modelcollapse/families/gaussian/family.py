"""The family of Gaussians: its estimator, figures and tables."""

from modelcollapse.families.base import ChainReport, ChainTitle
from modelcollapse.families.estimators.family import ChainData, EstimatorFamily
from modelcollapse.families.gaussian.estimator import GaussianEstimator
from modelcollapse.families.gaussian.presentation import GAUSSIAN
from modelcollapse.families.gaussian.stages import STAGES
from modelcollapse.families.gaussian.theory import gaussian_expectations


class GaussianFamily(EstimatorFamily):
    """Shumailov et al. (2024), the single Gaussian."""

    name = "gaussian"
    stages = STAGES
    headline = GAUSSIAN.headline
    knows_populations = True

    def build_estimator(self) -> GaussianEstimator:
        """The estimator of the model and data settings."""
        return GaussianEstimator(self.model, self.data)

    def present(self, chain: ChainData, title: ChainTitle) -> ChainReport:
        """Errors, risk and variance of every generation, theory beside and under what is measured."""
        from modelcollapse.families.gaussian import figures

        theory = gaussian_expectations(self.plan(chain), self.model, self.data, self.population)
        table = chain.table(self.expected(theory)).assign(rows=self.data.rows)
        text = self.figure_text(title)
        drawn = {
            "estimation_errors": figures.estimation_errors(table, text),
            "risk_and_variance": figures.risk_and_variance(table, text),
        }
        return ChainReport({"gaussian": table}, {}, drawn)
