"""The stages of the family gaussian_mixture."""

from modelcollapse.families.estimators.stages import estimator_stages

STAGES = estimator_stages(
    "gaussian_mixture",
    "modelcollapse.families.gaussian_mixture.estimator:GaussianMixtureEstimator",
    fit_version=2,
    scoring=("log_likelihood", "true_log_likelihood"),
)
