"""The family of linear regression: its estimator, figure and table."""

from modelcollapse.families.base import ChainReport, ChainTitle
from modelcollapse.families.estimators.family import ChainData, EstimatorFamily
from modelcollapse.families.linear_regression.estimator import LinearRegressionEstimator
from modelcollapse.families.linear_regression.presentation import LINEAR_REGRESSION
from modelcollapse.families.linear_regression.stages import STAGES
from modelcollapse.families.linear_regression.theory import linear_regression_expectations


class LinearRegressionFamily(EstimatorFamily):
    """Gerstgrasser et al. (2024), linear regression."""

    name = "linear_regression"
    stages = STAGES
    headline = LINEAR_REGRESSION.headline

    def build_estimator(self) -> LinearRegressionEstimator:
        """The estimator of the model and data settings."""
        return LinearRegressionEstimator(self.model, self.data, self.sharing)

    def present(self, chain: ChainData, title: ChainTitle) -> ChainReport:
        """Errors of every generation, theory beside what is measured."""
        from modelcollapse.families.estimators.figures import measures_and_theory, panels_of

        theory = self.expected(linear_regression_expectations(self.plan(chain), self.model, self.data))
        table = chain.table(theory).assign(rows=self.data.rows)
        figure = measures_and_theory(table, self.figure_text(title), panels_of(LINEAR_REGRESSION.figures[0]))
        return ChainReport({"linear_regression": table}, {}, {"regression_errors": figure})
