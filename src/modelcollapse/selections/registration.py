"""The rules and scorers that come with the package."""

from modelcollapse.registry import Member
from modelcollapse.selections import member_settings as of

MEMBERS = (
    Member("rules", "random", "modelcollapse.selections.rules:Random", options={"needs": ("stream",)}),
    Member("rules", "top", "modelcollapse.selections.rules:Top", options={"needs": ("scores",)}),
    Member(
        "rules",
        "threshold",
        "modelcollapse.selections.rules:Threshold",
        settings=of.ThresholdSettings,
        options={"needs": ("scores", "stream", "shortfall")},
    ),
    Member(
        "rules",
        "verifier",
        "modelcollapse.selections.rules:Verifier",
        settings=of.VerifierSettings,
        options={"needs": ("scores", "stream", "shortfall")},
    ),
    Member(
        "rules",
        "resample",
        "modelcollapse.selections.rules:Resample",
        settings=of.ResampleSettings,
        options={"needs": ("scores", "stream")},
    ),
    Member(
        "rules",
        "tournament",
        "modelcollapse.selections.rules:Tournament",
        settings=of.TournamentSettings,
        options={"needs": ("scores", "stream")},
    ),
    Member(
        "scorers",
        "confidence",
        "modelcollapse.selections.scorers:Confidence",
        label="log-likelihood under the writing model",
        options={"needs": ("writer_losses",)},
    ),
    Member(
        "scorers",
        "true_likelihood",
        "modelcollapse.selections.scorers:TrueLikelihood",
        label="log-likelihood under the true distribution",
        options={"needs": ("true_log_likelihood",)},
    ),
    Member(
        "scorers",
        "detector",
        "modelcollapse.selections.detector:Detector",
        settings=of.DetectorSettings,
        label="confidence that a row is real",
        options={"needs": ("real_rows", "stream")},
    ),
    Member(
        "scorers",
        "surplexity",
        "modelcollapse.selections.scorers:Surplexity",
        label="loss under the reference model",
        options={"needs": ("reference_losses",)},
    ),
)
