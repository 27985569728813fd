"""Logistic regression's entry in the registry."""

from functools import partial

from modelcollapse.edits.settings import LABELS
from modelcollapse.families.estimators.settings import POPULATION_CHECKS, memory_problems, selection_problems
from modelcollapse.families.logistic_regression.settings import LogisticRegressionSettings, offers
from modelcollapse.families.options import FLOAT64_ON_CPU, family
from modelcollapse.merges.settings import NEEDS

MEMBERS = (
    family(
        "logistic_regression",
        "modelcollapse.families.logistic_regression.family:LogisticRegressionFamily",
        LogisticRegressionSettings,
        forms=("logistic_samples",),
        goes_with="data=logistic_samples decoding=none",
        chain_checks=(memory_problems,),
        selection_checks=(partial(selection_problems, "points", offers),),
        selects_training_sets=True,
        populations="replicates",
        population_checks=POPULATION_CHECKS,
        merges=tuple(NEEDS),
        edits=LABELS,
        accelerators=FLOAT64_ON_CPU,
        stages="modelcollapse.families.logistic_regression.stages:STAGES",
        exporter="modelcollapse.families.estimators.exporting:export",
        presentation="modelcollapse.families.logistic_regression.presentation:LOGISTIC_REGRESSION",
    ),
)
