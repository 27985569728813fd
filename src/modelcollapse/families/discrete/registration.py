"""The discrete distribution's entry in the registry."""

from functools import partial

from modelcollapse.families.discrete.settings import DiscreteSettings, offers
from modelcollapse.families.estimators.settings import (
    POPULATION_CHECKS,
    memory_problems,
    selection_problems,
    synthesis_problems,
)
from modelcollapse.families.options import FLOAT64_ON_CPU, family
from modelcollapse.merges.settings import NEEDS

MEMBERS = (
    family(
        "discrete",
        "modelcollapse.families.discrete.family:DiscreteFamily",
        DiscreteSettings,
        forms=("categorical_samples",),
        goes_with="data=categorical_samples decoding=none",
        chain_checks=(synthesis_problems, memory_problems),
        selection_checks=(partial(selection_problems, "states", offers),),
        selects_training_sets=True,
        populations="replicates",
        population_checks=POPULATION_CHECKS,
        merges=tuple(NEEDS),
        accelerators=FLOAT64_ON_CPU,
        stages="modelcollapse.families.discrete.stages:STAGES",
        exporter="modelcollapse.families.estimators.exporting:export",
        presentation="modelcollapse.families.discrete.presentation:DISCRETE",
    ),
)
