"""Histograms of a group's chains pooled into one, over bins that all groups and generations share.

A run keeps its distributions as counts in 64 bins between their extremes, so that pooled ones are rebinned: what a
recorded bin holds is spread evenly over it. A share is off by at most what lies in the recorded bins that a shared
bin's edges cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd

from modelcollapse.families.presentation import Distribution
from modelcollapse.figures.thinning import shown_generations
from modelcollapse.report import charts
from modelcollapse.report.appearance import Appearance
from modelcollapse.report.chains import RecordedHistogram
from modelcollapse.report.groups import Group

BINS = 48
MOST_GENERATIONS = 16
OUTSIDE = 0.001
"""Share of everything recorded that may lie beyond either end of the axis."""
_FINE = 4000


@dataclass(frozen=True)
class PooledHistograms:
    """One distribution over groups and generations."""

    distribution: Distribution
    start: float
    """Lower edge of the first bin, in the unit that was recorded."""
    width: float
    """Of every bin."""
    shares: pd.DataFrame
    """``group``, ``generation``, ``bin``, ``share`` of all finite values of all seeds, also those beyond the axis."""
    real: np.ndarray | None
    """[BINS], the same of real data."""


def pooled_histograms(groups: Sequence[Group], distributions: Sequence[Distribution]) -> list[PooledHistograms]:
    """The distributions that any run has, each over the generations that a slider shows.

    Of a long chain at most ``MOST_GENERATIONS`` are taken, of those that it recorded.
    """
    recorded = _recorded(groups, distributions)
    found = [_pooled(recorded, distribution) for distribution in distributions]
    return [one for one in found if one is not None]


def _recorded(groups: Sequence[Group], distributions: Sequence[Distribution]) -> dict[str, list[RecordedHistogram]]:
    """Label -> what its chains recorded of the distributions, chain after chain; no more of real data than is drawn."""
    names, real = {one.name for one in distributions}, {one.real for one in distributions}
    return {
        group.label: [
            one
            for chain in group.chains
            for one in chain.histograms()
            if one.name in names or (one.name in real and one.generation == 0)
        ]
        for group in groups
    }


def _pooled(recorded: Mapping[str, Sequence[RecordedHistogram]], distribution: Distribution) -> PooledHistograms | None:
    import pandas as pd

    own = {label: [one for one in found if one.name == distribution.name] for label, found in recorded.items()}
    everything = [one for found in own.values() for one in found if one.counts.sum()]
    if not everything:
        return None
    shown = _shown({one.generation for one in everything})
    everything = [one for one in everything if one.generation in shown]
    edges = _shared_edges(everything)
    rows = []
    for label, found in own.items():
        for generation in sorted({one.generation for one in found} & shown):
            shares = rebinned((one for one in found if one.generation == generation), edges)
            rows.append(pd.DataFrame({"group": label, "generation": generation, "bin": range(BINS), "share": shares}))
    real = [
        one
        for found in recorded.values()
        for one in found
        if one.name == distribution.real and one.generation == 0 and one.counts.sum()
    ]
    return PooledHistograms(
        distribution=distribution,
        start=float(edges[0]),
        width=float(edges[1] - edges[0]),
        shares=pd.concat(rows, ignore_index=True),
        real=rebinned(real, edges) if real else None,
    )


def _shown(recorded: set[int]) -> set[int]:
    """At most MOST_GENERATIONS of the recorded generations, the first and the last among them."""
    ordered = sorted(recorded)
    if len(ordered) <= MOST_GENERATIONS:
        return recorded
    wanted = shown_generations(ordered[-1], MOST_GENERATIONS)
    places = np.abs(np.subtract.outer(np.array(sorted(wanted)), np.array(ordered))).argmin(axis=1)
    return {ordered[place] for place in places} | {ordered[0], ordered[-1]}


def _shared_edges(histograms: Sequence[RecordedHistogram]) -> np.ndarray:
    """BINS bins of equal width that hold all but OUTSIDE of the recorded values at either end."""
    low = min(one.edges[0] for one in histograms)
    high = max(one.edges[-1] for one in histograms)
    fine = np.linspace(low, high, _FINE + 1)
    # Every generation counts alike, however many values it has.
    total = np.zeros(_FINE)
    for one in histograms:
        total += rebinned([one], fine)
    mass = np.cumsum(total / len(histograms))
    first = fine[int(np.searchsorted(mass, OUTSIDE))]
    last = fine[min(_FINE, int(np.searchsorted(mass, 1 - OUTSIDE)) + 1)]
    return np.linspace(first, max(last, first + 1e-9), BINS + 1)


def rebinned(histograms: Iterable[RecordedHistogram], edges: np.ndarray) -> np.ndarray:
    """Share of all values of the recorded histograms in each of other bins, [len(edges) - 1]."""
    inside, total = np.zeros(len(edges) - 1), 0
    for one in histograms:
        reached = np.concatenate([[0], np.cumsum(one.counts)])
        inside += np.diff(np.interp(edges, one.edges, reached))
        total += int(reached[-1])
    return inside / total if total else inside


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
