"""The Gaussian's entry in the registry."""

from modelcollapse.families.gaussian.settings import CHECKS, GaussianSettings
from modelcollapse.families.options import FLOAT64_ON_CPU, family

MEMBERS = (
    family(
        "gaussian",
        "modelcollapse.families.gaussian.family:GaussianFamily",
        GaussianSettings,
        forms=("gaussian_samples",),
        goes_with="data=gaussian_samples decoding=none",
        checks=CHECKS,
        accelerators=FLOAT64_ON_CPU,
        stages="modelcollapse.families.gaussian.stages:STAGES",
        presentation="modelcollapse.families.gaussian.presentation:GAUSSIAN",
    ),
)
