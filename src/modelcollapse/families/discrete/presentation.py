"""Presentation of discrete distributions in the report of a sweep."""

import math

from modelcollapse.families.presentation import POSITIVE, SHARE, CurveFigure, Distribution, Panel, Presentation, Symptom

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
                Panel("survivors/mean", "states left"),
                Panel("entropy/mean", "entropy (nats)"),
                Panel("heterozygosity/mean", "heterozygosity"),
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
    symptoms=(
        Symptom("risk", "total_variation/mean", falls=False),
        Symptom("diversity", "entropy/mean"),
        Symptom("tails", "survivors/mean"),
        Symptom("modes", "survivors/mean"),
    ),
    replicates=True,
    possible={
        "survivors": (1.0, math.inf),
        "entropy": POSITIVE,
        **dict.fromkeys(("heterozygosity", "single", "total_variation"), SHARE),
    },
)
"""Loss of states beside its closed forms."""
