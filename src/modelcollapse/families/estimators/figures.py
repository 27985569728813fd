"""Figures of measures over replicates, each beside what is expected of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelcollapse.families.presentation import CurveFigure
from modelcollapse.figures import curves, style
from modelcollapse.figures.axes import generation_axis, logarithmic_generation_axis
from modelcollapse.figures.style import FigureText

if TYPE_CHECKING:
    import pandas as pd


def panels_of(figure: CurveFigure) -> dict[str, str]:
    """Measure -> label of its axis, as the report of a sweep draws them."""
    return {panel.metric.removesuffix("/mean"): panel.label for panel in figure.panels}


@style.paper()
def measures_and_theory(
    table: pd.DataFrame,
    text: FigureText,
    panels: Mapping[str, str],
    *,
    log_generations: bool = False,
    without_bands: Collection[str] = (),
    expected: str = "exact expectation",
) -> Figure:
    """A panel for each measure: its mean over the replicates, a band of 90 % of them, and theory.

    ``panels``: measure -> label of its axis. Columns of ``table`` are ``generation``, ``measure/statistic`` and
    ``theory/measure``, NaN where no closed form is known; ``expected`` says in the caption what theory is.
    """
    curves.require(table, ("generation", *(f"{name}/mean" for name in panels)))
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 0.3 + 2.2 * rows), layout="constrained")
    for axes, (name, heading) in zip(figure.subplots(rows, 2).flat, panels.items(), strict=True):
        _draw_measure(axes, table, name, text.regime, has_band=name not in without_bands, is_log=log_generations)
        axes.set_ylabel(heading)
    known = any(table[f"theory/{name}"].notna().any() for name in panels if f"theory/{name}" in table)
    grey = f"Grey: {expected}." if known else "No closed form is known for these settings."
    style.label(figure, text, curves.caption("Lines: mean over the replicates; bands: 5th to 95th percentile.", grey))
    return figure


def _draw_measure(axes: Axes, table: pd.DataFrame, name: str, regime: str, *, has_band: bool, is_log: bool) -> None:
    colour, dashes = style.regime_line(regime)
    places = table["generation"] + (1 if is_log else 0)
    if is_log:
        logarithmic_generation_axis(axes, int(table["generation"].max()))
    else:
        generation_axis(axes)
    if f"theory/{name}" in table:
        axes.plot(places, table[f"theory/{name}"], zorder=1, **style.THEORY)
    if has_band:
        low, high = (np.asarray(table[f"{name}/{level}"]) for level in ("p05", "p95"))
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)
    axes.plot(places, table[f"{name}/mean"], color=colour, linestyle=dashes, linewidth=1.0, zorder=3)
    axes.set_ylim(bottom=0)
