"""Linear regression's entry in the registry."""

from functools import partial

from modelcollapse.edits.settings import LABELS
from modelcollapse.families.estimators.settings import (
    POPULATION_CHECKS,
    memory_problems,
    selection_problems,
    synthesis_problems,
)
from modelcollapse.families.linear_regression.settings import LinearRegressionSettings, offers
from modelcollapse.families.options import FLOAT64_ON_CPU, family
from modelcollapse.merges.settings import NEEDS

MEMBERS = (
    family(
        "linear_regression",
        "modelcollapse.families.linear_regression.family:LinearRegressionFamily",
        LinearRegressionSettings,
        forms=("linear_samples",),
        goes_with="data=linear_samples decoding=none",
        chain_checks=(synthesis_problems, memory_problems),
        selection_checks=(partial(selection_problems, "points", offers),),
        selects_training_sets=True,
        populations="replicates",
        population_checks=POPULATION_CHECKS,
        merges=tuple(NEEDS),
        edits=LABELS,
        accelerators=FLOAT64_ON_CPU,
        stages="modelcollapse.families.linear_regression.stages:STAGES",
        exporter="modelcollapse.families.estimators.exporting:export",
        presentation="modelcollapse.families.linear_regression.presentation:LINEAR_REGRESSION",
    ),
)
