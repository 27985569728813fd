"""The language model's entries in the registry: the family, and what it can be fitted with."""

from modelcollapse.edits.settings import TOKENS
from modelcollapse.families.language_model.settings import (
    CHECKS,
    SELECTION_CHECKS,
    FocalSettings,
    LanguageModelSettings,
    TruncatedCrossEntropySettings,
    same_block_problems,
)
from modelcollapse.families.options import family
from modelcollapse.merges.settings import NEEDS
from modelcollapse.registry import Member

_LOSSES = "modelcollapse.families.language_model.losses"

MEMBERS = (
    family(
        "language_model",
        "modelcollapse.families.language_model.family:LanguageModelFamily",
        LanguageModelSettings,
        forms=("text", "known_language"),
        decodes=True,
        goes_with="data=language decoding=beam",
        checks=CHECKS,
        chain_checks=(same_block_problems,),
        selection_checks=SELECTION_CHECKS,
        selects_training_sets=True,
        merges=tuple(NEEDS),
        populations="lineages",
        edits=TOKENS,
        shares_fits=True,
        takes_trainer_arguments=True,
        stages="modelcollapse.families.language_model.stages:STAGES",
        memory="modelcollapse.families.language_model.memory:expected_memory",
        exporter="modelcollapse.families.language_model.exporting:export",
        presentation="modelcollapse.families.language_model.presentation:PRESENTATION",
    ),
    Member("losses", "cross_entropy", f"{_LOSSES}:CrossEntropy", label="cross-entropy"),
    Member(
        "losses",
        "truncated_cross_entropy",
        f"{_LOSSES}:truncated_cross_entropy",
        settings=TruncatedCrossEntropySettings,
        label="truncated cross-entropy",
    ),
    Member("losses", "focal", f"{_LOSSES}:focal", settings=FocalSettings, label="focal loss"),
)
