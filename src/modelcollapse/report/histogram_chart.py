"""The chart of distributions: pooled histograms, with a slider over the generations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from modelcollapse.report import charts
from modelcollapse.report.appearance import Appearance
from modelcollapse.report.histograms import BINS, PooledHistograms


def histograms_chart(histograms: Sequence[PooledHistograms], looks: Mapping[str, Appearance]) -> alt.LayerChart:
    """Pooled histograms of a chosen distribution at the generation that a slider chooses; real data dashed."""
    labels = list(looks)
    generations = sorted({int(one) for histogram in histograms for one in histogram.shares["generation"]})
    constants = {
        "labels": labels,
        "generations": generations,
        "starts": [histogram.start / _unit(histogram) for histogram in histograms],
        "widths": [histogram.width / _unit(histogram) for histogram in histograms],
        "logs": [histogram.distribution.of_logarithms for histogram in histograms],
    }
    options, names = list(range(len(histograms))), [histogram.distribution.label for histogram in histograms]
    chosen = alt.param(
        name="distribution",
        value=0,
        bind=alt.binding_select(options=options, labels=names, name="distribution "),
    )
    slider = alt.param(
        name="shown",
        value=len(generations) - 1,
        bind=alt.binding_range(min=0, max=len(generations) - 1, step=1, name="generation "),
    )
    switched = charts.switch("switched", labels)
    drawn = _binned(charts.rows_chart(_histogram_rows(histograms, labels, generations), "d", "g", "k", "b", "share"))
    drawn = (
        drawn.transform_filter("datum.k == shown")
        .transform_calculate(group="labels[datum.g]")
        .transform_filter({"param": "switched", "empty": False})
    )
    axis = alt.Axis(
        labelExpr="logs[distribution] ? format(pow(10, datum.value), '.3~g') : format(datum.value, '.3~g')",
        title=None,
        grid=False,
        values=charts.decimal_ticks("logs[distribution]", "x", dense_below=1.3),
        tickCount=8,
        labelOverlap=True,
    )
    x = alt.X("x:Q", axis=axis, scale=alt.Scale(zero=False, nice=False))
    y = alt.Y("share:Q", title="share of all values", axis=alt.Axis(format="~%", tickCount=6), stack=None)
    colours = charts.colours(looks)
    area = drawn.mark_area(interpolate="step-after", opacity=0.12, line=False).encode(x=x, y=y, color=colours)
    line = drawn.mark_line(interpolate="step-after", strokeWidth=1.8).encode(
        x=x, y=y, color=colours, strokeDash=charts.dashes(looks)
    )
    layers = [area, line]
    real = _real_rows(histograms)
    if real:
        of_real = _binned(charts.rows_chart(real, "d", "b", "share"))
        layers.append(of_real.mark_line(interpolate="step-after", strokeDash=[3, 3], color="#777777").encode(x=x, y=y))
    fixed = [alt.param(name=name, value=value) for name, value in constants.items()]
    dressed = charts.dressed(layers, [*fixed, chosen, slider, switched], "Distributions by generation")
    return charts.titled(dressed, "'generation ' + generations[shown]")


def _binned(chart: alt.Chart) -> alt.Chart:
    return chart.transform_filter("datum.d == distribution").transform_calculate(
        x="starts[datum.d] + datum.b * widths[datum.d]"
    )


def _unit(histogram: PooledHistograms) -> float:
    """What was recorded in natural logarithms is shown in decimal ones, whose powers make the labels."""
    return math.log(10) if histogram.distribution.of_logarithms else 1.0


def _histogram_rows(histograms: Sequence[PooledHistograms], labels: Sequence[str], generations: Sequence[int]) -> str:
    groups = {label: place for place, label in enumerate(labels)}
    places = {generation: place for place, generation in enumerate(generations)}
    frames = []
    for number, histogram in enumerate(histograms):
        shares = histogram.shares
        frame = pd.DataFrame(
            {
                "d": number,
                "g": shares["group"].map(groups),
                "k": shares["generation"].map(places),
                "b": shares["bin"],
                "share": shares["share"].map(charts.short),
            }
        )
        # The last step needs an end.
        ends = frame[frame["b"] == BINS - 1].assign(b=BINS, share="0")
        frames.append(pd.concat([frame, ends]).sort_values(["g", "k", "b"], kind="stable"))
    return pd.concat(frames).to_csv(index=False, lineterminator="\n")


def _real_rows(histograms: Sequence[PooledHistograms]) -> str:
    rows = [
        f"{number},{place},{charts.short(share)}"
        for number, histogram in enumerate(histograms)
        if histogram.real is not None
        for place, share in enumerate([*histogram.real, 0.0])
    ]
    return "\n".join(["d,b,share", *rows]) + "\n" if rows else ""
