"""Vega-Lite charts of the page: rows as text, a switch for every group, colours, fonts.

Charts are Vega-Lite specifications made by Altair. Rows travel as comma-separated text with numbers for words, which is
several times smaller than objects. A logarithmic axis is drawn by taking logarithms of what is shown, since Vega-Lite
cannot change the kind of a scale at a click.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from modelcollapse.figures.thinning import shown_generations
from modelcollapse.report.appearance import VEGA_DASHES, Appearance
from modelcollapse.report.tables import REPLICATES

HEIGHT = 380
_DIGITS = 6


_DECADES = list(range(-12, 16))
_DENSE = sorted(
    round(math.log10(step * 10.0**decade), 6)
    for decade in range(-6, 9)
    for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
)
_FINE = sorted(round(math.log10(step * 10.0**decade), 6) for decade in range(-6, 9) for step in (1, 2, 3, 5))


def rows_chart(rows: str, *columns: str) -> alt.Chart:
    """A chart of rows of comma-separated text, all of whose columns are numbers."""
    parse = dict.fromkeys(columns, "number")
    return alt.Chart(alt.InlineData(values=rows, format=alt.CsvDataFormat(type="csv", parse=parse)))


def short(value: float) -> str:
    """A number with six digits; nothing where it is NaN or infinite."""
    return f"{value:.{_DIGITS}g}" if math.isfinite(value) else ""


def switch(name: str, labels: Sequence[str]) -> Any:
    """All groups are on; a click on the legend switches one off or on."""
    return alt.selection_point(
        name=name,
        fields=["group"],
        bind="legend",
        toggle="true",
        clear=False,
        value=[{"group": label} for label in labels],
    )


def colours(looks: Mapping[str, Appearance]) -> alt.Color:
    """The colour of each group, and the legend."""
    scale = alt.Scale(domain=list(looks), range=[look.colour for look in looks.values()])
    return alt.Color("group:N", scale=scale, legend=_legend())


def dashes(looks: Mapping[str, Appearance]) -> alt.StrokeDash:
    """The dashes of each group, in the same legend."""
    scale = alt.Scale(domain=list(looks), range=[VEGA_DASHES[look.dashes] for look in looks.values()])
    return alt.StrokeDash("group:N", scale=scale, legend=_legend())


def decimal_ticks(is_log: str, axis: str, *, dense_below: float) -> alt.ExprRef:
    """Round numbers where a condition says that an axis is of decimal logarithms; the usual ticks otherwise.

    Powers of ten where the axis spans many, steps of each where it spans few, many steps below ``dense_below`` of them.
    """
    span = f"(domain('{axis}')[1] - domain('{axis}')[0])"
    ticks = f"{span} < {dense_below} ? {_DENSE} : {span} < 2 ? {_FINE} : {_DECADES}"
    return alt.ExprRef(expr=f"!({is_log}) || {span} < 0.12 ? null : {ticks}")


def titled(chart: alt.LayerChart, expression: str) -> alt.LayerChart:
    """The chart with a title that follows what is chosen."""
    title = alt.TitleParams(alt.ExprRef(expr=expression), anchor="start", fontSize=15)
    named: alt.LayerChart = chart.properties(title=title)
    return named


def _legend() -> alt.Legend:
    """One legend for colours and dashes, a column on narrow screens."""
    return alt.Legend(
        title=None,
        orient="top",
        direction="vertical",
        columns=alt.ExprRef(expr="width < 600 ? 1 : 2"),
        labelLimit=330,
        symbolType="stroke",
        symbolOpacity=1,
        symbolSize=400,
        symbolStrokeWidth=2.5,
    )


def dressed(layers: Sequence[alt.Chart], parameters: Sequence[Any], description: str) -> alt.LayerChart:
    """The chart as wide as the page, in its font."""
    layered: Any = alt.layer(*layers).add_params(*parameters)
    sized: alt.LayerChart = layered.properties(
        width="container",
        height=HEIGHT,
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
        background="transparent",
        description=description,
    )
    font = "system-ui, sans-serif"
    drawn: alt.LayerChart = (
        sized.configure(font=font)
        .configure_axis(labelFontSize=12, titleFontSize=13, titleFontWeight="normal", gridColor="#e6e6e6")
        .configure_legend(labelFontSize=13)
        .configure_view(stroke=None)
    )
    return drawn


MOST_GENERATIONS = 60
"""Generations of a chain in the chart of curves; the tables have all."""
MOST_ROWS = 24_000
"""Rows in the chart of curves, above which metrics that no panel shows are left to the tables."""
_BAND_ROOM = 0.5
_INK = "#333333"
_LOG = "log({0}) / LN10"
_SEED = [
    alt.Tooltip("group:N", title="group"),
    alt.Tooltip("seed:Q", title="seed"),
    alt.Tooltip("t:Q", title="generation"),
    alt.Tooltip("value:Q", title="value", format=".5~g"),
]
_ROUND_GENERATIONS = (0, *(step * 10**decade for decade in range(6) for step in (1, 2, 5)))


def curves_chart(
    shown: pd.DataFrame,
    points: pd.DataFrame,
    expected: pd.DataFrame,
    metrics: Mapping[str, str],
    looks: Mapping[str, Appearance],
    *,
    log: tuple[bool, bool],
) -> alt.LayerChart:
    """Mean and 95 % interval of a chosen metric against the generation, a colour a group.

    Seeds that are too few for an interval are small points.

    Args:
        shown: A row a group, generation and metric, see :func:`modelcollapse.report.tables.shown_statistics`.
        points: Values of single seeds, see :func:`modelcollapse.report.tables.seed_points`.
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
    switched = switch("switched", labels)
    known = alt.param(name="labels", value=labels)
    drawn = rows_chart(_curve_rows(shown, labels, numbered), "g", "t", "m", "mean", "low", "high", "n")
    drawn = _placed(drawn).transform_calculate(
        y=f"log_y ? (datum.mean > 0 ? {_LOG.format('datum.mean')} : null) : datum.mean",
        # Intervals of metrics without known bounds may reach zero: they have no band on a logarithmic axis.
        y_low=f"log_y ? (datum.low > 0 ? {_LOG.format('datum.low')} : datum.y) : datum.low",
        y_high=f"log_y ? (datum.low > 0 ? {_LOG.format('datum.high')} : datum.y) : datum.high",
        interval="isValid(datum.low) ? format(datum.low, '.5~g') + ' to ' + format(datum.high, '.5~g') : 'none'",
    )
    drawn = drawn.transform_filter("isValid(datum.y)").transform_joinaggregate(bottom="min(y)", top="max(y)")
    # A wide band may leave the axes: they hold all means, and of the bands what is near them.
    room = f"{_BAND_ROOM} * (datum.top - datum.bottom)"
    drawn = drawn.transform_calculate(
        y_low=f"max(datum.y_low, datum.bottom - {room})", y_high=f"min(datum.y_high, datum.top + {room})"
    )
    x, colour = _generations(), colours(looks)
    base = drawn.encode(x=x, color=colour)
    y = alt.Y("y:Q", title=None, axis=_values_axis(), scale=alt.Scale(zero=False, nice=False, padding=6))
    band = base.mark_area(opacity=0.16).encode(y=alt.Y("y_low:Q", title=None), y2="y_high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dashes(looks))
    means = base.mark_point(filled=True, size=42, opacity=0.9).encode(y=y, tooltip=_tooltips())
    layers = [band, line, means]
    if len(points):
        seeds = _placed(rows_chart(_point_rows(points, shown, labels, numbered), "g", "t", "m", "seed", "value"))
        seeds = seeds.transform_calculate(
            y=f"log_y ? (datum.value > 0 ? {_LOG.format('datum.value')} : null) : datum.value"
        ).transform_filter("isValid(datum.y)")
        layers.insert(
            0, seeds.mark_point(filled=True, size=14, opacity=0.5).encode(x=x, y=y, color=colour, tooltip=_SEED)
        )
    if len(expected):
        theory = _placed(rows_chart(_theory_rows(expected, labels, numbered), "g", "t", "m", "expected"))
        theory = theory.transform_calculate(y=f"log_y ? {_LOG.format('datum.expected')} : datum.expected")
        layers.insert(0, theory.mark_line(strokeWidth=4, opacity=0.3, color=_INK).encode(x=x, y=y, detail="g:N"))
    named = alt.param(name="names", value=list(metrics.values()))
    chart = dressed(layers, [known, named, metric, log_x, log_y, switched], "Mean and 95 % interval by generation")
    return titled(chart, "names[metric]")


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
        **{name: rows[name].map(short) for name in ("mean", "low", "high")},
        "n": rows["n"],
    }
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def _point_rows(points: pd.DataFrame, shown: pd.DataFrame, labels: Sequence[str], numbered: Mapping[str, int]) -> str:
    over_seeds = shown.loc[shown["over"] != REPLICATES, "metric"].astype(str).unique()
    rows = points[points["metric"].astype(str).isin(set(numbered) & set(over_seeds))]
    rows = rows[rows["generation"].isin(shown_generations(int(shown["generation"].max()), MOST_GENERATIONS))]
    columns = {
        "g": rows["group"].astype(str).map({label: place for place, label in enumerate(labels)}),
        "t": rows["generation"].astype(int),
        "m": rows["metric"].astype(str).map(numbered),
        "seed": rows["seed"].astype(int),
        "value": rows["value"].map(short),
    }
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def _theory_rows(expected: pd.DataFrame, labels: Sequence[str], numbered: Mapping[str, int]) -> str:
    rows = thinned(expected[expected["metric"].isin(list(numbered))])
    columns = {
        "g": rows["group"].map({label: place for place, label in enumerate(labels)}),
        "t": rows["generation"].astype(int),
        "m": rows["metric"].map(numbered),
        "expected": rows["expected"].map(short),
    }
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of at most MOST_GENERATIONS generations, evenly on a logarithmic scale where there are more."""
    last = int(rows["generation"].max()) if len(rows) else 0
    return rows[rows["generation"].isin(shown_generations(last, MOST_GENERATIONS))]


def _generations() -> alt.X:
    """Places of a logarithmic axis are those of the generation plus one, since there is a generation 0."""
    label = "log_x ? format(round(pow(10, datum.value) - 1), ',d') : (datum.value % 1 ? '' : format(datum.value, ',d'))"
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
        labelExpr=label, values=decimal_ticks("log_y", "y", dense_below=0.8), tickCount=8, labelOverlap=True
    )


def _tooltips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("group:N", title="group"),
        alt.Tooltip("t:Q", title="generation"),
        alt.Tooltip("mean:Q", title="mean", format=".5~g"),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("n:Q", title="n"),
    ]
