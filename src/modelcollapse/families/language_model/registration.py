"""The language model's entry in the registry."""

from modelcollapse.families.language_model.settings import CHECKS, LanguageModelSettings
from modelcollapse.families.options import family

MEMBERS = (
    family(
        "language_model",
        "modelcollapse.families.language_model.family:LanguageModelFamily",
        LanguageModelSettings,
        forms=("text", "token_blocks"),
        decodes=True,
        goes_with="data=language decoding=beam",
        checks=CHECKS,
        shares_fits=True,
        presentation="modelcollapse.families.language_model.presentation:PRESENTATION",
    ),
)
