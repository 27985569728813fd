"""The rules and scorers that come with the package."""

from modelcollapse.registry import Member
from modelcollapse.selections import member_settings as of


def _rule(name: str, place: str, *needs: str, settings: type | None = None) -> Member:
    return Member("rules", name, f"modelcollapse.selections.rules:{place}", settings=settings, options={"needs": needs})


def _scorer(name: str, place: str, label: str, *needs: str, settings: type | None = None) -> Member:
    place = f"modelcollapse.selections.{place}"
    return Member("scorers", name, place, settings=settings, label=label, options={"needs": needs})


MEMBERS = (
    _rule("random", "Random", "stream"),
    _rule("top", "Top", "scores"),
    _rule("threshold", "Threshold", "scores", "stream", "shortfall", settings=of.ThresholdSettings),
    _rule("verifier", "Verifier", "scores", "stream", "shortfall", settings=of.VerifierSettings),
    _rule("resample", "Resample", "scores", "stream", settings=of.ResampleSettings),
    _rule("tournament", "Tournament", "scores", "stream", settings=of.TournamentSettings),
    _scorer("surplexity", "scorers:Surplexity", "loss under the reference model", "reference_losses"),
    _scorer("confidence", "scorers:Confidence", "log-likelihood under the writing model", "writer_losses"),
    _scorer(
        "true_likelihood",
        "scorers:TrueLikelihood",
        "log-likelihood under the true distribution",
        "true_log_likelihood",
    ),
    _scorer(
        "detector",
        "detector:Detector",
        "confidence that a row is real",
        "real_rows",
        "stream",
        settings=of.DetectorSettings,
    ),
)
