"""The stages of the family gaussian."""

from modelcollapse.families.estimators.stages import estimator_stages

STAGES = estimator_stages(
    "gaussian",
    "modelcollapse.families.gaussian.estimator:GaussianEstimator",
    scoring=("log_likelihood", "true_log_likelihood"),
)
