"""The rules and scorers that come with the package."""

from typing import Any

from modelcollapse.registry import Member
from modelcollapse.selections import member_settings as of


def _rule(name: str, place: str, *needs: str, settings: type | None = None) -> Member:
    return Member("rules", name, f"modelcollapse.selections.rules:{place}", settings=settings, options={"needs": needs})


def _scorer(name: str, place: str, label: str, *needs: str, settings: type | None = None, **options: Any) -> Member:
    place = f"modelcollapse.selections.{place}"
    return Member("scorers", name, place, settings=settings, label=label, options={"needs": needs, **options})


MEMBERS = (
    _rule("random", "Random", "stream"),
    _rule("top", "Top", "scores"),
    _rule("threshold", "Threshold", "scores", "stream", "shortfall", settings=of.ThresholdSettings),
    _rule("verifier", "Verifier", "scores", "stream", "shortfall", settings=of.VerifierSettings),
    _rule("resample", "Resample", "scores", "stream", settings=of.ResampleSettings),
    _rule("tournament", "Tournament", "scores", "stream", settings=of.TournamentSettings),
    _scorer("surplexity", "scorers:Surplexity", "loss under the reference model", "reference_losses", by_row=True),
    _scorer("confidence", "scorers:Confidence", "log-likelihood under the writing model", "writer_losses", by_row=True),
    _scorer(
        "true_likelihood",
        "scorers:TrueLikelihood",
        "log-likelihood under the true distribution",
        "true_log_likelihood",
        by_row=True,
        is_truth=True,
    ),
    _scorer(
        "detector",
        "detector:Detector",
        "confidence that a row is real",
        "real_rows",
        "stream",
        settings=of.DetectorSettings,
        uses=("is_synthetic",),
        rows=("texts", "images", "states"),
    ),
    _scorer("oracle", "oracle:Oracle", "1 for right rows, 0 for wrong ones", "is_right", by_row=True, is_truth=True),
    _scorer(
        "distance",
        "distance:Distance",
        "minus the distance to a point",
        settings=of.DistanceSettings,
        by_row=True,
        rows=("points",),
    ),
    _scorer("length", "text_length:TextLength", "length of the text", "texts", settings=of.LengthSettings),
    _scorer(
        "image_class",
        "image_class:ImageClass",
        "log-probability of classes",
        "class_log_probabilities",
        settings=of.ImageClassSettings,
    ),
)
