"""The figures of a sweep: every group as a line with a band, and each group's pooled distributions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from modelcollapse.families.presentation import CurveFigure, JointFigure, Panel, PooledFigure, Presentation
from modelcollapse.figures import curves, style
from modelcollapse.figures.axes import generation_axis, is_wide, logarithmic_generation_axis, logarithmic_values
from modelcollapse.figures.style import FigureText
from modelcollapse.report.appearance import Appearance
from modelcollapse.report.chains import ReportChain
from modelcollapse.report.groups import Group, listed_seeds
from modelcollapse.report.statistics import FEWEST, NONE
from modelcollapse.report.tables import REPLICATES

MOST_ABREAST = 3
PANEL_HEIGHT = 2.3
_MOST_MARKERS = 12
_BAND_ROOM = 0.5


def drawn_figures(
    groups: Sequence[Group],
    shown: pd.DataFrame,
    points: pd.DataFrame,
    expected: pd.DataFrame,
    presentations: Mapping[str, Presentation],
    looks: Mapping[str, Appearance],
) -> Iterator[tuple[str, Figure]]:
    """(File name without suffix, figure) of all that can be drawn.

    Args:
        groups: The groups, of one or several families.
        shown: A row a group, generation and metric, see :func:`modelcollapse.report.tables.shown_statistics`.
        points: Values of single seeds, see :func:`modelcollapse.report.tables.seed_points`.
        expected: Closed forms, see :func:`modelcollapse.report.tables.expectations`.
        presentations: By family.
        looks: By label of a group.
    """
    for family, presentation in presentations.items():
        own = [group for group in groups if group.family == family]
        of_family = shown[shown["group"].isin([group.label for group in own])]
        # One generation makes no curve.
        for figure in presentation.figures if of_family["generation"].nunique() > 1 else ():
            panels = [panel for panel in figure.panels if (shown["metric"] == panel.metric).any()]
            if panels:
                name = figure.name if len(presentations) == 1 else f"{family}_{figure.name}"
                yield name, curve_figure(own, figure, panels, shown, points, expected, looks)
        for group in own:
            for pooled in presentation.pooled:
                if (drawn := pooled_figure(group, pooled)) is not None:
                    yield pooled.name if len(groups) == 1 else f"{pooled.name}_{file_name(group.label)}", drawn
        for joint in presentation.joint:
            if (drawn := joint_figure(own, joint, shown)) is not None:
                yield joint.name, drawn


@style.paper()
def curve_figure(
    groups: Sequence[Group],
    figure: CurveFigure,
    panels: Sequence[Panel],
    shown: pd.DataFrame,
    points: pd.DataFrame,
    expected: pd.DataFrame,
    looks: Mapping[str, Appearance],
) -> Figure:
    """Each metric against the generation: the mean of every group, and the 95 % interval of the mean as a band.

    Seeds that are too few for an interval are points.
    """
    columns = min(len(panels), MOST_ABREAST) if len(panels) != 4 else 2
    rows = ceil(len(panels) / columns)
    has_theory = bool(expected["metric"].isin([panel.metric for panel in panels]).any())
    legend_height = 0.05 + 0.17 * ceil((len(groups) + has_theory) / legend_columns([group.label for group in groups]))
    drawn = Figure(figsize=(style.DOUBLE_COLUMN, 0.9 + legend_height + rows * PANEL_HEIGHT), layout="constrained")
    grid = drawn.add_gridspec(rows + 1, columns, height_ratios=[legend_height, *[PANEL_HEIGHT] * rows])
    _legend(drawn.add_subplot(grid[0, :]), groups, looks, has_theory)
    labels = [group.label for group in groups]
    statistics = shown[shown["group"].isin(labels)]
    for place, panel in enumerate(panels):
        axes = drawn.add_subplot(grid[1 + place // columns, place % columns])
        theory = expected[(expected["metric"] == panel.metric) & expected["group"].isin(labels)]
        of_panel = points[(points["metric"] == panel.metric) & points["group"].isin(labels)]
        _draw_panel(axes, panel, statistics, of_panel, theory, looks, figure.log_generations)
    drawn_rows = statistics[statistics["metric"].isin([panel.metric for panel in panels])]
    style.label(drawn, figure_text(groups, drawn_rows), _caption(drawn_rows, panels, has_theory))
    return drawn


def _draw_panel(
    axes: Axes,
    panel: Panel,
    shown: pd.DataFrame,
    points: pd.DataFrame,
    expected: pd.DataFrame,
    looks: Mapping[str, Appearance],
    log_generations: bool,
) -> None:
    shift = 1 if log_generations else 0
    of_metric = shown[(shown["metric"] == panel.metric) & np.isfinite(shown["mean"])]
    of_metric = of_metric[of_metric["generation"] >= panel.since]
    for label, look in looks.items():
        rows = of_metric[of_metric["group"] == label].sort_values("generation")
        if rows.empty:
            continue
        places = rows["generation"].to_numpy() + shift
        mean, low, high = (heights_of(rows[name], panel) for name in ("mean", "low", "high"))
        axes.fill_between(places, low, high, color=look.colour, alpha=0.16, linewidth=0)
        marker = look.marker if len(rows) <= _MOST_MARKERS else ""
        axes.plot(places, mean, color=look.colour, linestyle=look.dashes, marker=marker, markersize=3)
        if not (rows["over"] == REPLICATES).any():
            _draw_points(axes, panel, points[points["group"] == label], look, shift)
        theory = expected[expected["group"] == label].sort_values("generation")
        axes.plot(theory["generation"] + shift, heights_of(theory["expected"], panel), zorder=1, **style.THEORY)
    if panel.real is not None and (shown["metric"] == panel.real).any():
        real = shown.loc[shown["metric"] == panel.real, "mean"].mean()
        axes.axhline(real, color=style.GREY, linestyle=":", linewidth=1.0, zorder=1)
    _dress(axes, panel, of_metric, points, log_generations)


def _draw_points(axes: Axes, panel: Panel, points: pd.DataFrame, look: Appearance, shift: int) -> None:
    points = points[points["generation"] >= panel.since]
    places, heights = points["generation"].to_numpy() + shift, heights_of(points["value"], panel)
    axes.plot(places, heights, linestyle="", marker=".", markersize=3, color=look.colour, alpha=0.5, zorder=2)


def heights_of(values: pd.Series, panel: Panel) -> np.ndarray:
    """Values as a panel draws them: the roots of mean squares."""
    heights = values.to_numpy(dtype=float)
    return np.sqrt(np.maximum(heights, 0)) if panel.root else heights


def _dress(axes: Axes, panel: Panel, of_metric: pd.DataFrame, points: pd.DataFrame, log_generations: bool) -> None:
    axes.set_ylabel(panel.label)
    if log_generations:
        logarithmic_generation_axis(axes, int(of_metric["generation"].max()) if len(of_metric) else 0)
    else:
        generation_axis(axes)
    heights = np.concatenate([heights_of(of_metric["mean"], panel), heights_of(points["value"], panel)])
    is_log = is_wide(heights) if panel.log == "wide" else panel.log and bool((heights > 0).any())
    if is_log:
        logarithmic_values(axes, heights)
    _limit(axes, heights[np.isfinite(heights)], is_log)


def _limit(axes: Axes, heights: np.ndarray, is_log: bool) -> None:
    """Let a wide band leave the axes: they hold all means and points, and of the bands what is near them."""
    if not heights.size:
        return
    values = np.log10(heights[heights > 0]) if is_log else heights
    low, high = float(values.min()), float(values.max())
    room = _BAND_ROOM * (high - low) if high > low else max(0.1, 0.1 * abs(high))
    bottom, top = axes.get_ylim()
    ends = (10 ** (low - room), 10 ** (high + room)) if is_log else (low - room, high + room)
    axes.set_ylim(max(bottom, ends[0]), min(top, ends[1]))


def legend_columns(labels: Sequence[str]) -> int:
    """Columns of a legend over the figure in which the longest of the labels has room."""
    return max(1, min(4, 110 // (8 + max(map(len, labels)))))


def _legend(axes: Axes, groups: Sequence[Group], looks: Mapping[str, Appearance], has_theory: bool) -> None:
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=3, label=group.label)
        for group in groups
        for look in (looks[group.label],)
    ]
    if has_theory:
        handles.append(Line2D([], [], label="theory", **style.THEORY))
    axes.set_axis_off()
    axes.legend(
        handles=handles,
        loc="center left",
        ncols=legend_columns([group.label for group in groups]),
        handlelength=2.4,
        borderaxespad=0,
    )


def figure_text(groups: Sequence[Group], rows: pd.DataFrame) -> FigureText:
    """What a figure says of the groups that it shows, by their rows of statistics."""
    models = ", ".join(dict.fromkeys(str(group.columns["model"]) for group in groups))
    regimes = ", ".join(dict.fromkeys(group.regime for group in groups))
    seeds = listed_seeds(seed for group in groups for seed in group.seeds)
    return FigureText(model=models, regime=regimes, seeds=seeds, n=counted(rows))


def counted(rows: pd.DataFrame) -> str:
    """How many values stand behind each point, and what they are, as in ``3 seeds`` or ``1 to 3 seeds``."""
    words = []
    counts = rows[rows["n"] > 0]
    for over in counts["over"].astype(str).unique():
        n = counts.loc[counts["over"] == over, "n"]
        fewest, most = int(n.min()), int(n.max())
        number = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
        what = over.replace("seeds", "seed") if most == 1 and over != REPLICATES else over
        words.append(f"{number} {what}")
    return "; ".join(words) or "0"


def _caption(rows: pd.DataFrame, panels: Sequence[Panel], has_theory: bool) -> str:
    kinds = [str(kind) for kind in rows["interval"].unique() if kind != NONE]
    bands = f"Lines: mean; bands: 95 % interval of the mean ({', '.join(kinds)}), cut at the axes." if kinds else ""
    has_points = bool(((rows["interval"] == NONE) & (rows["n"] > 1)).any())
    points = f"Lines: mean; points: single seeds, where there are fewer than {FEWEST}." if has_points else ""
    single = "" if kinds or has_points else "Lines: single seeds."
    roots = "Root mean squares are roots of both." if any(panel.root for panel in panels) else ""
    theory = "Grey: closed form." if has_theory else ""
    real = "Dotted: real data." if any(panel.real for panel in panels) else ""
    left_out = int(rows["nan"].sum() + rows["infinite"].sum())
    dropped = f"{left_out:,} missing or infinite values left out." if left_out else ""
    return curves.caption(bands, points, single, roots, theory, real, dropped)


def pooled_figure(group: Group, pooled: PooledFigure) -> Figure | None:
    """A figure of one group from a table of its chains, all seeds together; None where no chain has written it."""
    tables = _tables([group], pooled.table)
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    rows = int((table["generation"] == table["generation"].max()).sum())
    regime = group.label if group.regime in group.label else f"{group.regime}, {group.label}"
    text = FigureText(
        model=str(group.columns["model"]),
        regime=regime,
        seeds=listed_seeds(chain.seed for chain in _with_table([group], pooled.table)),
        n=f"{rows:,} {pooled.counted} a generation, all seeds together",
    )
    return _drawn(pooled.draw, table, text)


def joint_figure(groups: Sequence[Group], joint: JointFigure, shown: pd.DataFrame) -> Figure | None:
    """A figure of groups that differ in one setting, from a table of all their chains; None where they differ in
    another, and where fewer than two have written it.
    """
    written = [group for group in groups if _with_table([group], joint.table)]
    if len(written) < 2 or any(set(group.coordinates) != {joint.over} for group in groups):
        return None
    rows = shown[shown["group"].isin([group.label for group in written]) & (shown["over"] == REPLICATES)]
    return _drawn(joint.draw, pd.concat(_tables(written, joint.table), ignore_index=True), figure_text(written, rows))


def _with_table(groups: Sequence[Group], name: str) -> list[ReportChain]:
    chains = [chain for group in groups for chain in group.chains]
    return [chain for chain in chains if (chain.folder / f"{name}.parquet").is_file()]


def _tables(groups: Sequence[Group], name: str) -> list[pd.DataFrame]:
    return [chain.table(name) for chain in _with_table(groups, name)]


def _drawn(place: str, table: pd.DataFrame, text: FigureText) -> Figure:
    module, function = place.split(":")
    figure: Figure = getattr(import_module(module), function)(table, text)
    return figure


def file_name(label: str) -> str:
    """A label as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", label).strip("_")
