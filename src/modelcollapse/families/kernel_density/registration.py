"""Kernel density estimation's entry in the registry."""

from functools import partial

from modelcollapse.families.estimators.settings import POPULATION_CHECKS, memory_problems, selection_problems
from modelcollapse.families.kernel_density.settings import (
    KernelDensitySettings,
    centre_problems,
    chosen_centre_problems,
    offers,
    point_problems,
)
from modelcollapse.families.options import FLOAT64_ON_CPU, family

MEMBERS = (
    family(
        "kernel_density",
        "modelcollapse.families.kernel_density.family:KernelDensityFamily",
        KernelDensitySettings,
        forms=("points", "gaussian_samples"),
        goes_with="data=shapes decoding=none",
        checks=(point_problems,),
        chain_checks=(centre_problems, memory_problems),
        selection_checks=(partial(selection_problems, "points", offers), chosen_centre_problems),
        selects_training_sets=True,
        populations="replicates",
        population_checks=POPULATION_CHECKS,
        accelerators=FLOAT64_ON_CPU,
        stages="modelcollapse.families.kernel_density.stages:STAGES",
        exporter="modelcollapse.families.estimators.exporting:export",
        presentation="modelcollapse.families.kernel_density.presentation:KERNEL_DENSITY",
    ),
)
