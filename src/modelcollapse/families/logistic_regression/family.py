"""The family of logistic regression: its estimator, figure and table."""

from modelcollapse.families.base import ChainReport, ChainTitle
from modelcollapse.families.estimators.family import ChainData, EstimatorFamily
from modelcollapse.families.logistic_regression.estimator import LogisticRegressionEstimator
from modelcollapse.families.logistic_regression.presentation import LOGISTIC_REGRESSION
from modelcollapse.families.logistic_regression.stages import STAGES
from modelcollapse.families.logistic_regression.theory import logistic_regression_expectations


class LogisticRegressionFamily(EstimatorFamily):
    """Dey and Donoho (2024), logistic regression."""

    name = "logistic_regression"
    stages = STAGES
    headline = LOGISTIC_REGRESSION.headline

    def build_estimator(self) -> LogisticRegressionEstimator:
        """The estimator of the model and data settings."""
        return LogisticRegressionEstimator(self.model, self.data, self.sharing)

    def present(self, chain: ChainData, title: ChainTitle) -> ChainReport:
        """Errors of every generation, theory beside the one it is known for."""
        from modelcollapse.families.estimators.figures import measures_and_theory, panels_of

        theory = self.expected(logistic_regression_expectations(self.plan(chain), self.model, self.data))
        table = chain.table(theory).assign(rows=self.data.rows)
        text, panels = self.figure_text(title), panels_of(LOGISTIC_REGRESSION.figures[0])
        figure = measures_and_theory(table, text, panels, expected="expectation to first order in 1/M")
        return ChainReport({"logistic_regression": table}, {}, {"classifier_errors": figure})
