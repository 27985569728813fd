"""The Gaussian's entry in the registry."""

from functools import partial

from modelcollapse.families.estimators.settings import memory_problems, selection_problems, synthesis_problems
from modelcollapse.families.gaussian.settings import CHECKS, POPULATION_CHECKS, GaussianSettings, offers
from modelcollapse.families.options import FLOAT64_ON_CPU, family
from modelcollapse.merges.settings import NEEDS

MEMBERS = (
    family(
        "gaussian",
        "modelcollapse.families.gaussian.family:GaussianFamily",
        GaussianSettings,
        forms=("gaussian_samples",),
        goes_with="data=gaussian_samples decoding=none",
        checks=CHECKS,
        chain_checks=(synthesis_problems, memory_problems),
        selection_checks=(partial(selection_problems, "points", offers),),
        selects_training_sets=True,
        merges=tuple(NEEDS),
        populations="replicates",
        population_checks=POPULATION_CHECKS,
        accelerators=FLOAT64_ON_CPU,
        stages="modelcollapse.families.gaussian.stages:STAGES",
        exporter="modelcollapse.families.estimators.exporting:export",
        presentation="modelcollapse.families.gaussian.presentation:GAUSSIAN",
    ),
)
