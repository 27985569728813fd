"""What the page's charts have in common: rows as text, a switch for every group, colours, fonts.

Charts are Vega-Lite specifications made by Altair. Rows travel as comma-separated text with numbers for words, which is
several times smaller than objects. A logarithmic axis is drawn by taking logarithms of what is shown, since Vega-Lite
cannot change the kind of a scale at a click.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from modelcollapse.report.appearance import VEGA_DASHES, Appearance

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
