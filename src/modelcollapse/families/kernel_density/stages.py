"""The stages of the family kernel_density."""

from modelcollapse.families.estimators.stages import estimator_stages

STAGES = estimator_stages(
    "kernel_density",
    "modelcollapse.families.kernel_density.estimator:KernelDensityEstimator",
    scoring=("true_log_likelihood",),
)
