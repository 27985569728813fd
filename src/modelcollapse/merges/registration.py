"""The merges that come with the package."""

from modelcollapse.merges.settings import REFERENCE, AverageSettings, NegativeExtrapolationSettings
from modelcollapse.registry import Member

_METHODS = "modelcollapse.merges.methods"
_OPTIONS = {"needs": (REFERENCE,)}

MEMBERS = (
    Member("merges", "none", None, label="no merge"),
    Member(
        "merges",
        "negative_extrapolation",
        f"{_METHODS}:NegativeExtrapolation",
        settings=NegativeExtrapolationSettings,
        label="negative extrapolation",
        options=_OPTIONS,
    ),
    Member(
        "merges",
        "average",
        f"{_METHODS}:Average",
        settings=AverageSettings,
        label="average with generation 0",
        options=_OPTIONS,
    ),
)
