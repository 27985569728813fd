"""Figures of kernel density estimates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from modelcollapse.figures import curves, style
from modelcollapse.figures.style import FigureText

if TYPE_CHECKING:
    import pandas as pd


@style.paper()
def rows_by_generation(rows: pd.DataFrame, text: FigureText) -> Figure:
    """Rows that the first replicate writes, a panel for each generation shown; columns `generation`, `x`, `y`."""
    curves.require(rows, ("generation", "x", "y"))
    generations = sorted(rows["generation"].unique())
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 2.3), layout="constrained")
    panels = figure.subplots(1, len(generations), sharex=True, sharey=True, squeeze=False)[0]
    colour, _ = style.regime_line(text.regime)
    for axes, generation in zip(panels, generations, strict=True):
        shown = rows[rows["generation"] == generation]
        axes.plot(shown["x"], shown["y"], ".", color=colour, markersize=2.5, alpha=0.6)
        axes.set_title(f"generation {generation}")
        axes.set_aspect("equal", adjustable="box")
    style.label(figure, text, f"Rows that one replicate writes, n = {len(rows) // len(generations):,} a generation.")
    return figure
