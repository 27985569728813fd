"""The stages of the family discrete."""

from modelcollapse.families.estimators.stages import estimator_stages

STAGES = estimator_stages(
    "discrete",
    "modelcollapse.families.discrete.estimator:DiscreteEstimator",
    scoring=("log_likelihood", "true_log_likelihood"),
)
