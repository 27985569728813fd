"""Presentation of discrete distributions in the report of a sweep."""

from modelcollapse.families.presentation import CurveFigure, Distribution, Panel, Presentation

DISCRETE = Presentation(
    headline=(
        ("survivors/mean", "states left"),
        ("entropy/mean", "entropy (nats)"),
        ("heterozygosity/mean", "heterozygosity"),
        ("single/mean", "replicates with one state"),
    ),
    figures=(
        CurveFigure(
            "loss_of_states",
            (
                Panel("survivors/mean", "states left", log=True),
                Panel("entropy/mean", "entropy (nats)"),
                Panel("heterozygosity/mean", "heterozygosity", log=True),
                Panel("single/mean", "share of replicates with one state"),
            ),
            log_generations=True,
        ),
    ),
    distributions=(
        Distribution("survivors", "states left in a replicate"),
        Distribution("entropy", "entropy of a replicate (nats)"),
    ),
    theory="discrete",
    replicates=True,
)
"""Loss of states beside its closed forms."""
