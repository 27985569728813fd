"""The stages of the family linear_regression."""

from modelcollapse.families.estimators.stages import estimator_stages

STAGES = estimator_stages(
    "linear_regression",
    "modelcollapse.families.linear_regression.estimator:LinearRegressionEstimator",
    scoring=("log_likelihood", "true_log_likelihood"),
)
