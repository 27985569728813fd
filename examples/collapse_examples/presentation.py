"""How the numbers of the family ``exponential`` are shown over several chains: plain values, nothing heavy."""

from modelcollapse.families.presentation import CurveFigure, Panel, Presentation

EXPONENTIAL = Presentation(
    headline=(("relative_mean/mean", "mean / true mean"), ("log_drift/mean", "log drift")),
    figures=(CurveFigure("drift", (Panel("log_drift/mean", "logarithm of the mean"),)),),
    replicates=True,
)
