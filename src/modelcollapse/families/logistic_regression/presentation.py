"""Presentation of logistic regression in the report of a sweep."""

from modelcollapse.families.presentation import POSITIVE, SHARE, CurveFigure, Distribution, Panel, Presentation, Symptom

LOGISTIC_REGRESSION = Presentation(
    headline=(
        ("squared_error/mean", "|w - w*|^2"),
        ("kl_from_true/mean", "KL (nats a label)"),
        ("disagreement/mean", "disagreement"),
    ),
    figures=(
        CurveFigure(
            "classifier_errors",
            (
                Panel("squared_error/mean", "squared error of the weights"),
                Panel("squared_norm/mean", "squared norm of the weights"),
                Panel("kl_from_true/mean", "KL from the truth (nats a label)"),
                Panel("disagreement/mean", "disagreement with the true labels"),
            ),
        ),
    ),
    distributions=(
        Distribution("squared_error", "squared error of a replicate"),
        Distribution("kl_from_true", "KL of a replicate (nats a label)"),
    ),
    theory="logistic_regression",
    symptoms=(
        Symptom("risk", "kl_from_true/mean", falls=False),
        Symptom("similarity", "disagreement/mean", falls=False),
    ),
    replicates=True,
    possible={
        **dict.fromkeys(("squared_error", "squared_norm", "kl_from_true", "iterations"), POSITIVE),
        "disagreement": SHARE,
    },
)
"""Errors of the weights and of what they predict."""
