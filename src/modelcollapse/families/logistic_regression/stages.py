"""The stages of the family logistic_regression."""

from modelcollapse.families.estimators.stages import estimator_stages

STAGES = estimator_stages(
    "logistic_regression",
    "modelcollapse.families.logistic_regression.estimator:LogisticRegressionEstimator",
    scoring=("log_likelihood", "true_log_likelihood", "is_right"),
    measure_version=2,
)
