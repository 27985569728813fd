"""The stages of the family ``exponential``. Their code is that of its estimator: another figure refits nothing."""

from modelcollapse.families.estimators.stages import estimator_stages

STAGES = estimator_stages("exponential", "collapse_examples.estimator:ExponentialEstimator")
