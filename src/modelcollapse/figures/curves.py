"""Curves over generations, one for each seed and their mean, with captions on the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from modelcollapse.figures import style
from modelcollapse.figures.axes import generation_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def by_seed(generations: pd.DataFrame, columns: Sequence[str]) -> dict[str, pd.DataFrame]:
    """For each column a table of finite values, a row a generation and a column a seed."""
    require(generations, ("generation", "seed", *columns))
    tables = {}
    for column in columns:
        values = generations.assign(**{column: generations[column].astype(float)})
        table = values.pivot(index="generation", columns="seed", values=column).sort_index()
        tables[column] = table.where(np.isfinite(table)).dropna(axis="columns", how="all")
    if all(table.empty for table in tables.values()):
        raise ValueError(f"no finite value in any of {', '.join(columns)}")
    return tables


def draw_seeds(axes: Axes, table: pd.DataFrame, name: str, regime: str, hollow: bool = False) -> None:
    """One quantity against the generation: each seed, their mean, and one standard deviation around it."""
    generation_axis(axes)
    if table.empty:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=style.GREY)
        return
    room = 0.3 + 0.02 * (table.index[-1] - table.index[0])
    axes.set_xlim(table.index[0] - room, table.index[-1] + room)
    colour, dashes = style.regime_line(regime)
    mean, marker, face = table.mean(axis=1), "s" if hollow else "o", "white" if hollow else colour
    if table.shape[1] > 1:
        deviation = table.std(axis=1, ddof=1)
        axes.plot(table.index, table.to_numpy(), color=colour, linewidth=0.5, alpha=0.4)
        axes.fill_between(table.index, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
    (line,) = axes.plot(mean.index, mean, color=colour, linestyle=dashes, label=name)
    line.set(marker=marker, markerfacecolor=face, linewidth=0.9 if hollow else 1.4)


def extent(axes: Axes) -> tuple[float, float]:
    """Lowest and highest point of the curves, bands aside; (0, 0) where there are none."""
    heights = np.concatenate([[], *(np.asarray(line.get_ydata(), dtype=float) for line in axes.lines)])
    finite = heights[np.isfinite(heights)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def legend_above(axes: Axes, columns: int, title: str | None = None) -> None:
    """A legend over the axes, flush left."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, title=title, alignment="left")


class MissingColumns(ValueError):
    """A frame lacks columns that a figure is drawn from."""


def drawn(figures: Mapping[str, Callable[[], Figure]]) -> dict[str, Figure]:
    """The figures that can be drawn, by name: those of metrics that were left out (`metrics.remove`) are not there."""
    found = {}
    for name, draw in figures.items():
        with suppress(MissingColumns):
            found[name] = draw()
    return found


def require(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise `MissingColumns` that names the columns which the frame lacks."""
    missing = [column for column in columns if column not in frame]
    if missing:
        raise MissingColumns(f"the data frame lacks {', '.join(missing)}; it has {', '.join(map(str, frame))}")


def caption(*sentences: str) -> str:
    """One caption of the sentences that are not empty."""
    return " ".join(sentence for sentence in sentences if sentence)


def seeds_note(tables: Mapping[str, pd.DataFrame]) -> str:
    """What lines and bands are, and how many seeds stand behind them; nothing where there is one seed."""
    counts = np.concatenate([table.notna().sum(axis=1) for table in tables.values()])
    fewest, most = counts[counts > 0].min(), counts.max()
    if most == 1:
        return ""
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"Thin lines: seeds. Thick lines and bands: mean ± 1 standard deviation over n = {number} seeds."


def dropped_note(values: pd.DataFrame) -> str:
    """How many of the values are not drawn; nothing where all are."""
    numbers = values.apply(lambda column: column.isna() | column.isin([np.inf, -np.inf]))
    dropped = int(numbers.to_numpy().sum())
    return f"{dropped} missing or infinite value{'s' if dropped > 1 else ''} not drawn." if dropped else ""
