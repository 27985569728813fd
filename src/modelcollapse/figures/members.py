"""The figure of a population: each member's metrics against the generation, and their means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from modelcollapse.figures import curves, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from modelcollapse.figures.style import FigureText

_MOST_COLUMNS = 2
_PANEL_HEIGHT = 2.1


@style.paper()
def members_by_generation(
    members: pd.DataFrame, union: pd.DataFrame, metrics: Mapping[str, str], text: FigureText
) -> Figure:
    """A panel a metric: each member thin, their mean thick, one standard deviation around it; the rows of all dashed.

    Args:
        members: columns `generation`, `member` and the metrics; a row a generation and member.
        union: columns `generation` and, where they were measured of all members' rows together, metrics.
        metrics: name -> label of its axis.
        text: of the figure; its n is the number of members.
    """
    tables = curves.by_seed(members.rename(columns={"member": "seed"}), list(metrics))
    columns = min(len(tables), _MOST_COLUMNS)
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 0.8 + _PANEL_HEIGHT * rows), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in panels[len(tables) :]:
        axes.remove()
    for axes, (name, table) in zip(panels, tables.items(), strict=False):
        curves.draw_seeds(axes, table, "mean of the members", text.regime)
        axes.set_ylabel(metrics[name])
        if name in union:
            axes.plot(union["generation"], union[name], color=style.GREY, linestyle="--", linewidth=1.0)
    note = "Thin lines: members. Thick lines and bands: mean ± 1 standard deviation over the members."
    of_all = "Dashed: as many rows as one member writes, drawn from all members'." if len(union.columns) > 1 else ""
    style.label(figure, text, curves.caption(note, of_all, curves.dropped_note(members[list(tables)])))
    return figure
