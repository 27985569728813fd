"""The edits that come with the package."""

from modelcollapse.edits.settings import LABELS, TOKENS, LabelResamplingSettings, TokenResamplingSettings
from modelcollapse.registry import Member

MEMBERS = (
    Member("edits", "none", None, label="no edit"),
    Member(
        "edits",
        "token_resampling",
        "modelcollapse.edits.token_resampling:TokenResampling",
        settings=TokenResamplingSettings,
        label="resampling of sure tokens",
        options={"of": TOKENS},
    ),
    Member(
        "edits",
        "label_resampling",
        "modelcollapse.edits.label_resampling:LabelResampling",
        settings=LabelResamplingSettings,
        label="resampling of labels",
        options={"of": LABELS},
    ),
)
