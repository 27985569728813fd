"""The rules and scorers that come with the package."""

from modelcollapse.registry import Member

MEMBERS = (
    Member("rules", "random", "modelcollapse.selections.rules:Random", options={"needs": ("stream",)}),
    Member("rules", "top", "modelcollapse.selections.rules:Top", options={"needs": ("scores",)}),
    Member(
        "scorers",
        "surplexity",
        "modelcollapse.selections.scorers:Surplexity",
        label="loss under the reference model",
        options={"needs": ("reference_losses",)},
    ),
)
