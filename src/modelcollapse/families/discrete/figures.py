"""Figures of discrete chains: remaining states and diversity, and the end state of every replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from modelcollapse.families.estimators.figures import measures_and_theory
from modelcollapse.figures import curves, style
from modelcollapse.figures.style import FigureText

if TYPE_CHECKING:
    import pandas as pd


_PANELS = {
    "survivors": "states left",
    "entropy": "entropy (nats)",
    "heterozygosity": "heterozygosity",
    "single": "replicates with one state left",
}


def loss_of_states(table: pd.DataFrame, text: FigureText) -> Figure:
    """States left, entropy, heterozygosity and the share of absorbed replicates against the generation.

    Columns: `generation`, `measure/statistic` for each, and `theory/measure`, NaN where no closed form is known.
    """
    return measures_and_theory(table, text, _PANELS, log_generations=True, without_bands=("single",))


@style.paper()
def end_states(ends: pd.DataFrame, text: FigureText) -> Figure:
    """The share of absorbed replicates that ended in each state, against q_i, the probability that theory gives it.

    Columns: `state` (counted from 1), `probability` (q_i) and `replicates`, the number that ended there. Bars span 90 %
    of what as many independent replicates would show if theory holds.
    """
    from scipy.stats import binom

    curves.require(ends, ("state", "probability", "replicates"))
    absorbed = int(ends["replicates"].sum())
    figure = Figure(figsize=(style.SINGLE_COLUMN, 3.0), layout="constrained")
    axes = figure.subplots()
    if absorbed == 0:
        axes.text(
            0.5, 0.5, "no replicate has a single state left", transform=axes.transAxes, ha="center", color=style.GREY
        )
    else:
        low, high = (binom.ppf(level, absorbed, ends["probability"]) / absorbed for level in (0.05, 0.95))
        axes.vlines(ends["state"], low, high, color=style.GREY, linewidth=3, alpha=0.4)
        axes.plot(ends["state"], ends["probability"], label="theory, q", **style.THEORY)
        shares = ends["replicates"] / absorbed
        axes.plot(ends["state"], shares, "o", color=style.regime_line(text.regime)[0], label="replicates")
        curves.legend_above(axes, columns=2)
    axes.set_xlabel("state, by true probability")
    axes.set_ylabel("share that ended there")
    style.label(figure, text, f"{absorbed:,} replicates with a single state left. Bars: 90 % of samples of that size.")
    return figure
