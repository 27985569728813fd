"""The Gaussian mixture's entry in the registry."""

from functools import partial

from modelcollapse.families.estimators.settings import memory_problems, selection_problems
from modelcollapse.families.gaussian_mixture.settings import CHECKS, POPULATION_CHECKS, GaussianMixtureSettings, offers
from modelcollapse.families.options import FLOAT64_ON_CPU, family

MEMBERS = (
    family(
        "gaussian_mixture",
        "modelcollapse.families.gaussian_mixture.family:GaussianMixtureFamily",
        GaussianMixtureSettings,
        forms=("gaussian_samples", "samples"),
        goes_with="data=gaussian_samples decoding=none",
        checks=CHECKS,
        chain_checks=(memory_problems,),
        selection_checks=(partial(selection_problems, "points", offers),),
        selects_training_sets=True,
        populations="replicates",
        population_checks=POPULATION_CHECKS,
        accelerators=FLOAT64_ON_CPU,
        stages="modelcollapse.families.gaussian_mixture.stages:STAGES",
        exporter="modelcollapse.families.estimators.exporting:export",
        presentation="modelcollapse.families.gaussian_mixture.presentation:GAUSSIAN_MIXTURE",
    ),
)
