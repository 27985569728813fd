"""The chart of curves: a metric by generation, every group a line with a band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from modelcollapse.report import charts
from modelcollapse.report.appearance import LOWEST_BAND, Appearance
from modelcollapse.thinning import shown_generations

MOST_GENERATIONS = 60
"""Generations of a chain in the chart of curves; the tables have all."""
MOST_ROWS = 24_000
"""Rows in the chart of curves, above which metrics that no panel shows are left to the tables."""
_BAND_ROOM = 0.5
_INK = "#333333"
_LOG = "log({0}) / LN10"
_ROUND_GENERATIONS = (0, *(step * 10**decade for decade in range(6) for step in (1, 2, 5)))


def curves_chart(
    shown: pd.DataFrame,
    expected: pd.DataFrame,
    metrics: Mapping[str, str],
    looks: Mapping[str, Appearance],
    *,
    log: tuple[bool, bool],
) -> alt.LayerChart:
    """Mean and 95 % interval of a chosen metric against the generation, a colour a group.

    Args:
        shown: A row a group, generation and metric, see :func:`modelcollapse.report.tables.shown_statistics`.
        expected: Closed forms.
        metrics: Metric -> what it is called; the first is chosen at the beginning.
        looks: By label of a group, in the order of the legend.
        log: Whether the axes of generation and metric begin logarithmic.
    """
    labels, numbered = list(looks), {name: place for place, name in enumerate(metrics)}
    metric = alt.param(
        name="metric",
        value=0,
        bind=alt.binding_select(options=list(numbered.values()), labels=list(metrics.values()), name="metric "),
    )
    log_x = alt.param(name="log_x", value=log[0], bind=alt.binding_checkbox(name="log generations "))
    log_y = alt.param(name="log_y", value=log[1], bind=alt.binding_checkbox(name="log values "))
    switched = charts.switch("switched", labels)
    known = alt.param(name="labels", value=labels)
    drawn = charts.rows_chart(_curve_rows(shown, labels, numbered), "g", "t", "m", "mean", "low", "high", "n")
    drawn = _placed(drawn).transform_calculate(
        y=f"log_y ? (datum.mean > 0 ? {_LOG.format('datum.mean')} : null) : datum.mean",
        # A band that reaches zero is cut one decade below the mean.
        y_low=f"log_y ? {_LOG.format(f'max(datum.low, datum.mean * {LOWEST_BAND})')} : datum.low",
        y_high=f"log_y ? {_LOG.format('datum.high')} : datum.high",
        interval="isValid(datum.low) ? format(datum.low, '.5~g') + ' to ' + format(datum.high, '.5~g') : 'none'",
    )
    drawn = drawn.transform_filter("isValid(datum.y)").transform_joinaggregate(bottom="min(y)", top="max(y)")
    # A wide band, as of two seeds, may leave the axes: they hold all means, and of the bands what is near them.
    room = f"{_BAND_ROOM} * (datum.top - datum.bottom)"
    drawn = drawn.transform_calculate(
        y_low=f"max(datum.y_low, datum.bottom - {room})", y_high=f"min(datum.y_high, datum.top + {room})"
    )
    x, colour = _generations(), charts.colours(looks)
    base = drawn.encode(x=x, color=colour)
    y = alt.Y("y:Q", title=None, axis=_values_axis(), scale=alt.Scale(zero=False, nice=False, padding=6))
    band = base.mark_area(opacity=0.16).encode(y=alt.Y("y_low:Q", title=None), y2="y_high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=charts.dashes(looks))
    points = base.mark_point(filled=True, size=42, opacity=0.9).encode(y=y, tooltip=_tooltips())
    layers = [band, line, points]
    if len(expected):
        theory = _placed(charts.rows_chart(_theory_rows(expected, labels, numbered), "g", "t", "m", "expected"))
        theory = theory.transform_calculate(y=f"log_y ? {_LOG.format('datum.expected')} : datum.expected")
        layers.insert(0, theory.mark_line(strokeWidth=4, opacity=0.3, color=_INK).encode(x=x, y=y, detail="g:N"))
    named = alt.param(name="names", value=list(metrics.values()))
    dressed = charts.dressed(
        layers, [known, named, metric, log_x, log_y, switched], "Mean and 95 % interval by generation"
    )
    return charts.titled(dressed, "names[metric]")


def _placed(chart: alt.Chart) -> alt.Chart:
    """The rows of the chosen metric and of the groups that are switched on, with their group and place."""
    return (
        chart.transform_filter("datum.m == metric")
        .transform_calculate(group="labels[datum.g]", x=f"log_x ? {_LOG.format('(datum.t + 1)')} : datum.t")
        .transform_filter({"param": "switched", "empty": False})
    )


def _curve_rows(shown: pd.DataFrame, labels: Sequence[str], numbered: Mapping[str, int]) -> str:
    rows = thinned(shown[shown["metric"].isin(list(numbered)) & np.isfinite(shown["mean"])])
    columns = {
        "g": rows["group"].astype(str).map({label: place for place, label in enumerate(labels)}),
        "t": rows["generation"],
        "m": rows["metric"].astype(str).map(numbered),
        **{name: rows[name].map(charts.short) for name in ("mean", "low", "high")},
        "n": rows["n"],
    }
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def _theory_rows(expected: pd.DataFrame, labels: Sequence[str], numbered: Mapping[str, int]) -> str:
    rows = thinned(expected[expected["metric"].isin(list(numbered))])
    columns = {
        "g": rows["group"].map({label: place for place, label in enumerate(labels)}),
        "t": rows["generation"].astype(int),
        "m": rows["metric"].map(numbered),
        "expected": rows["expected"].map(charts.short),
    }
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of at most MOST_GENERATIONS generations, evenly on a logarithmic scale where there are more."""
    last = int(rows["generation"].max()) if len(rows) else 0
    return rows[rows["generation"].isin(shown_generations(last, MOST_GENERATIONS))]


def _generations() -> alt.X:
    """Places of a logarithmic axis are those of the generation plus one, since there is a generation 0."""
    label = "log_x ? format(round(pow(10, datum.value) - 1), '~s') : format(datum.value, '~s')"
    ticks = [round(math.log10(generation + 1), 6) for generation in _ROUND_GENERATIONS]
    axis = alt.Axis(
        labelExpr=label,
        title="generation",
        values=alt.ExprRef(expr=f"log_x ? {ticks} : null"),
        grid=False,
        tickMinStep=alt.ExprRef(expr="log_x ? 0.001 : 1"),
        tickCount=alt.ExprRef(expr="log_x ? 14 : 8"),
        labelOverlap="greedy",
    )
    return alt.X("x:Q", axis=axis, scale=alt.Scale(zero=False, nice=False, padding=8))


def _values_axis() -> alt.Axis:
    """Powers of ten where it is logarithmic, or steps of each where it spans few; the usual ticks otherwise."""
    power = "pow(10, datum.value)"
    plain = f"{power} < 0.001 || {power} >= 1000000 ? format({power}, '.2~e') : format({power}, ',.3~r')"
    label = f"log_y ? ({plain}) : format(datum.value, '.4~g')"
    return alt.Axis(
        labelExpr=label, values=charts.decimal_ticks("log_y", "y", dense_below=0.8), tickCount=8, labelOverlap=True
    )


def _tooltips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("group:N", title="group"),
        alt.Tooltip("t:Q", title="generation"),
        alt.Tooltip("mean:Q", title="mean", format=".5~g"),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("n:Q", title="n"),
    ]
