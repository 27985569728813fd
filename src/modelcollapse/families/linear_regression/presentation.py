"""Presentation of linear regression in the report of a sweep."""

from modelcollapse.families.presentation import POSITIVE, CurveFigure, Distribution, Panel, Presentation, Symptom

LINEAR_REGRESSION = Presentation(
    headline=(
        ("test_error/mean", "test error"),
        ("squared_norm/mean", "|w|^2"),
        ("squared_drift/mean", "|w - w_0|^2"),
    ),
    figures=(
        CurveFigure(
            "regression_errors",
            (
                Panel("test_error/mean", "test error, noiseless labels"),
                Panel("squared_norm/mean", "squared norm of the weights"),
            ),
        ),
    ),
    distributions=(Distribution("test_error", "test error of a replicate"),),
    theory="linear_regression",
    symptoms=(Symptom("risk", "test_error/mean", falls=False),),
    replicates=True,
    possible=dict.fromkeys(("test_error", "squared_norm", "squared_drift"), POSITIVE),
)
"""Test error and norm of the weights, beside their closed forms."""
