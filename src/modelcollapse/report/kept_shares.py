"""The figure of headline metrics against the share of the candidates that a selection keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from modelcollapse.families.presentation import Panel, Presentation
from modelcollapse.figures import curves, style
from modelcollapse.figures.axes import is_wide, logarithmic_values
from modelcollapse.report.appearance import DASHES, MARKERS, PALETTE
from modelcollapse.report.differences import last_generation
from modelcollapse.report.figures import MOST_ABREAST, PANEL_HEIGHT, figure_text, heights_of, legend_columns
from modelcollapse.report.groups import NAMES, Group, words_of
from modelcollapse.report.statistics import FEWEST, NONE
from modelcollapse.report.tables import REPLICATES

KEPT_SHARES = "kept_shares"
KEPT_SHARE = ("selection/kept_share", "selection/kept_share/mean")
"""The metric of a chain, and of the replicates of one."""
_MOST_PANELS = 6
_NO_SELECTION = "no selection"
_FEW_TICKS_BELOW = 0.02
_HOW_MUCH = ("selection.oversampling", "selection.size")
"""Settings that say how much is kept, and nothing else."""


@dataclass(frozen=True)
class Line:
    """Groups that are selected by one rule and scorer, and differ in how much they keep."""

    label: str
    shares: Mapping[str, float]
    """Label of a group -> share of its candidates that is kept, rising."""


def kept_share_figures(
    groups: Sequence[Group],
    shown: pd.DataFrame,
    points: pd.DataFrame,
    presentations: Mapping[str, Presentation],
    metrics: Mapping[str, str],
) -> Iterator[tuple[str, Figure]]:
    """(File name without suffix, figure) of each family whose groups keep different shares of their candidates.

    Args:
        groups: The groups, of one or several families.
        shown: A row a group, generation and metric, see :func:`modelcollapse.report.tables.shown_statistics`.
        points: Values of single seeds, see :func:`modelcollapse.report.tables.seed_points`.
        presentations: By family.
        metrics: Metric -> what it is called, see :func:`modelcollapse.report.differences.headline_metrics`.
    """
    for family, presentation in presentations.items():
        own = [group for group in groups if group.family == family]
        last = min(map(last_generation, own))
        rows = shown[(shown["generation"] == last) & shown["group"].isin([group.label for group in own])]
        lines, panels = lines_of(own, rows), _panels(metrics, presentation, set(rows["metric"].astype(str)))
        if lines and panels:
            drawn = [group for group in own if any(group.label in line.shares for line in lines)]
            name = KEPT_SHARES if len(presentations) == 1 else f"{family}_{KEPT_SHARES}"
            yield name, _figure(drawn, lines, panels, rows, points[points["generation"] == last], last)


def _panels(metrics: Mapping[str, str], presentation: Presentation, measured: set[str]) -> list[Panel]:
    """The headline's metrics as the family's figures draw them; those of the selection itself say nothing new."""
    known = {panel.metric: panel for figure in presentation.figures for panel in figure.panels}
    wanted = [name for name in metrics if name in measured and not name.startswith("selection/")]
    return [known.get(name, Panel(name, metrics[name])) for name in wanted[:_MOST_PANELS]]


def lines_of(groups: Sequence[Group], rows: pd.DataFrame) -> list[Line]:
    """The lines of a figure; none where all groups that select keep the same share.

    ``rows`` are the statistics of one generation. Where groups of one rule and scorer keep equal shares, the rule's
    other settings tell lines apart. What selects nothing keeps all: a line of one point, where all else is the same.
    """
    shares = _shares(rows)
    selecting = [group for group in groups if group.label in shares]
    if len({round(shares[group.label], 6) for group in selecting}) < 2:
        return []
    lines = []
    for members in _parted(selecting, _by_rule):
        differ = len({round(shares[group.label], 6) for group in members}) == len(members)
        parts = [members] if differ else _parted(members, lambda group: repr(_settings(group)))
        lines += [_line(part, shares, _differing(parts)) for part in parts]
    places = {_elsewhere(group) for group in selecting}
    whole = [group for group in groups if group.label not in shares and _elsewhere(group) in places]
    return [*lines, *(_line([group], {group.label: 1.0}, ()) for group in whole)]


def _shares(rows: pd.DataFrame) -> dict[str, float]:
    """Label of a group that selects -> the share of its candidates that is kept."""
    found = rows[rows["metric"].isin(KEPT_SHARE) & np.isfinite(rows["mean"])]
    return dict(zip(found["group"].astype(str), found["mean"].astype(float), strict=True))


def _parted(groups: Sequence[Group], by: Callable[[Group], object]) -> list[list[Group]]:
    parts: dict[object, list[Group]] = {}
    for group in groups:
        parts.setdefault(by(group), []).append(group)
    return list(parts.values())


def _elsewhere(group: Group) -> str:
    """What distinguishes the group beside its selection."""
    return repr([(name, value) for name, value in group.columns.items() if not _is_of_selection(name)])


def _is_of_selection(name: str) -> bool:
    return name in NAMES or name.startswith("selection.") or name == "selection"


def _by_rule(group: Group) -> tuple[str, str]:
    return _rule(group), _elsewhere(group)


def _settings(group: Group) -> dict[str, object]:
    """What distinguishes the group's selection beside how much it keeps."""
    return {
        name: value
        for name, value in group.columns.items()
        if name.startswith("selection.") and name not in _HOW_MUCH and not name.endswith(".name")
    }


def _rule(group: Group) -> str:
    settings = group.chains[0].settings
    rule, scorer = (settings.get(f"selection.{part}.name") for part in ("rule", "scorer"))
    return _NO_SELECTION if rule is None else f"{rule}" if scorer is None else f"{rule} by {scorer}"


def _differing(parts: Sequence[Sequence[Group]]) -> list[str]:
    """The settings of a selection by which the first groups of some lines differ."""
    settings = [_settings(part[0]) for part in parts]
    return [name for name in settings[0] if len({repr(each.get(name)) for each in settings}) > 1]


def _line(groups: Sequence[Group], shares: Mapping[str, float], named: Sequence[str]) -> Line:
    """The line of some groups, by its rule, by what distinguishes it elsewhere, and by some settings of the rule."""
    first = groups[0]
    place = {name: value for name, value in first.coordinates.items() if not _is_of_selection(name)}
    more = {name: first.columns[name] for name in named}
    label = ", ".join(filter(None, [_rule(first), words_of(place | more)]))
    ordered = sorted(groups, key=lambda group: shares[group.label])
    return Line(label, {group.label: shares[group.label] for group in ordered})


@style.paper()
def _figure(
    groups: Sequence[Group],
    lines: Sequence[Line],
    panels: Sequence[Panel],
    rows: pd.DataFrame,
    points: pd.DataFrame,
    generation: int,
) -> Figure:
    columns = min(len(panels), MOST_ABREAST) if len(panels) != 4 else 2
    grid_rows = ceil(len(panels) / columns)
    abreast = legend_columns([line.label for line in lines])
    legend_height = 0.1 + 0.17 * ceil(len(lines) / abreast)
    drawn = Figure(figsize=(style.DOUBLE_COLUMN, 0.9 + legend_height + grid_rows * PANEL_HEIGHT), layout="constrained")
    grid = drawn.add_gridspec(grid_rows + 1, columns, height_ratios=[legend_height, *[PANEL_HEIGHT] * grid_rows])
    rows = rows[rows["group"].isin([group.label for group in groups])]
    for place, panel in enumerate(panels):
        axes = drawn.add_subplot(grid[1 + place // columns, place % columns])
        of_panel, single = (table[table["metric"] == panel.metric] for table in (rows, points))
        _draw_panel(axes, panel, lines, of_panel, single)
    names = drawn.add_subplot(grid[0, :])
    names.set_axis_off()
    handles, labels = axes.get_legend_handles_labels()
    names.legend(handles, labels, loc="center left", ncols=abreast, handlelength=2.4, borderaxespad=0)
    drawn_rows = rows[rows["metric"].isin([panel.metric for panel in panels])]
    style.label(drawn, figure_text(groups, drawn_rows), _caption(drawn_rows, generation))
    return drawn


def _draw_panel(axes: Axes, panel: Panel, lines: Sequence[Line], rows: pd.DataFrame, points: pd.DataFrame) -> None:
    statistics = rows.set_index(rows["group"].astype(str))
    for place, line in enumerate(lines):
        labels = [label for label in line.shares if label in statistics.index]
        of_line = statistics.loc[labels]
        places = np.array([line.shares[label] for label in labels])
        mean, low, high = (heights_of(of_line[name], panel) for name in ("mean", "low", "high"))
        look = _look(place, line)
        reach = np.nan_to_num(np.stack([mean - low, high - mean]), nan=0.0)
        axes.errorbar(places, mean, yerr=reach, capsize=2, elinewidth=0.8, linewidth=1.2, label=line.label, **look)
        for label in labels if not (of_line["over"] == REPLICATES).any() else ():
            single = heights_of(points.loc[points["group"] == label, "value"], panel)
            axes.plot([line.shares[label]] * len(single), single, ".", color=look["color"], markersize=3, alpha=0.5)
    _share_axis(axes, np.array([share for line in lines for share in line.shares.values()]))
    axes.set_ylabel(panel.label)
    means = heights_of(rows["mean"], panel)
    if is_wide(means) if panel.log == "wide" else panel.log and bool((means > 0).any()):
        logarithmic_values(axes, means)


def _look(place: int, line: Line) -> dict[str, Any]:
    """Colour, marker and dashes of a line; grey for what selects nothing."""
    if line.label.startswith(_NO_SELECTION):
        return {"color": style.GREY, "marker": "d", "markersize": 4.5, "linestyle": ""}
    colour, dashes = PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)]
    return {"color": colour, "marker": MARKERS[place % len(MARKERS)], "markersize": 3.5, "linestyle": dashes}


def _share_axis(axes: Axes, shares: np.ndarray) -> None:
    """Shares from 0 to 1, or on a logarithmic axis where they differ by much."""
    axes.set_xlabel("kept share of candidates")
    if not is_wide(shares):
        axes.set_xlim(0, 1.05)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if shares.min() > _FEW_TICKS_BELOW else (1,)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _caption(rows: pd.DataFrame, generation: int) -> str:
    kinds = [str(kind) for kind in rows["interval"].unique() if kind != NONE]
    bars = f"Points: mean; bars: 95 % interval of the mean ({', '.join(kinds)})." if kinds else ""
    is_few = (rows["interval"] == NONE) & (rows["n"] > 1) & (rows["over"] != REPLICATES)
    points = f"Small points: single seeds, where there are fewer than {FEWEST}." if is_few.any() else ""
    return curves.caption(f"Generation {generation}.", bars, points)
