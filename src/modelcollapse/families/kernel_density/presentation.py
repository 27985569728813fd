"""Presentation of kernel density estimates in the report of a sweep."""

from modelcollapse.families.presentation import POSITIVE, SHARE, CurveFigure, Distribution, Panel, Presentation, Symptom

KERNEL_DENSITY = Presentation(
    headline=(
        ("test_loss/mean", "test loss (nats)"),
        ("spread/mean", "spread"),
        ("variance/mean", "variance of the rows"),
    ),
    figures=(
        CurveFigure(
            "density_estimates",
            (
                Panel("test_loss/mean", "test loss (nats)"),
                Panel("spread/mean", "spread about the true mean"),
                Panel("variance/mean", "variance of the rows"),
            ),
        ),
    ),
    distributions=(Distribution("test_loss", "test loss of a replicate (nats)"),),
    theory="kernel_density",
    symptoms=(
        Symptom("risk", "test_loss/mean", falls=False),
        Symptom("diversity", "variance/mean"),
    ),
    replicates=True,
    possible={**dict.fromkeys(("variance", "spread"), POSITIVE), "reached": SHARE},
)
"""Test loss, spread and variance, beside their closed forms."""
