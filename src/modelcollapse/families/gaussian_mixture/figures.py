"""Figures of Gaussian mixture chains: samples, distances from the first mixture, components.

Every function takes data frames and a `FigureText` and returns a matplotlib `Figure` with title and caption. Frames of
components have the columns `generation`, `weight`, `mean_x`, `mean_y`, `variance_x`, `variance_y`, `covariance_xy`.
Functions raise `ValueError` for missing columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from modelcollapse.figures import curves, style
from modelcollapse.figures.axes import logarithmic_generation_axis
from modelcollapse.figures.style import FigureText

if TYPE_CHECKING:
    import pandas as pd


PAPER_GENERATIONS = (0, 50, 100, 150, 200, 350, 2000)
"""The generations Shumailov et al. 2024 draw."""
COMPONENT_COLUMNS = ("generation", "weight", "mean_x", "mean_y", "variance_x", "variance_y", "covariance_xy")

_DISTANCES = {
    "squared_l2_to_first": r"$\int (p_0 - p_n)^2$",
    "kl_from_first": r"KL$(p_0 \,\|\, p_n)$, nats",
    "wasserstein_upper_bound": r"MW$_2(p_0, p_n)$",
}
_PANELS_ABREAST = 4
_SHARE_SHOWN = 0.998
_DEVIATIONS = (1, 2)
_BAND = ("median", "p05", "p95")
Colour = str | tuple[float, float, float, float]


@style.paper()
def samples_by_generation(samples: pd.DataFrame, components: pd.DataFrame, text: FigureText) -> Figure:
    """Samples of one replicate side by side, a panel a generation, under the ellipses of the components.

    `samples` has the columns `generation`, `x`, `y`. Ellipses are one and two standard deviations wide, the paler
    the lighter their component. All panels share their axes, which hold 99.8 % of all samples and the whole of what
    the components' means span; the caption says how many lie outside.
    """
    curves.require(samples, ("generation", "x", "y"))
    curves.require(components, COMPONENT_COLUMNS)
    generations = np.unique(samples["generation"]).tolist()
    low, high = _limits(samples, components)
    figure = Figure(
        figsize=(style.DOUBLE_COLUMN, 2.0 * -(-len(generations) // _PANELS_ABREAST) + 0.7), layout="constrained"
    )
    colours = style.generation_colours(generations)
    for axes, generation in zip(_panels(figure, len(generations)), generations, strict=True):
        shown = samples[samples["generation"] == generation]
        axes.plot(shown["x"], shown["y"], ".", color=colours[generation], markersize=1.6, alpha=0.5, rasterized=True)
        _draw_ellipses(axes, components[components["generation"] == generation], style.VERMILLION)
        axes.set_title(f"generation {generation:,}", loc="left")
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    outside = int(((samples[["x", "y"]] < low) | (samples[["x", "y"]] > high)).any(axis=1).sum())
    style.label(figure, text, _samples_caption(len(shown), outside))
    return figure


@style.paper()
def distances_by_generation(table: pd.DataFrame, text: FigureText) -> Figure:
    """How far the mixtures are from generation 0's: squared L2 distance, KL divergence and MW2, logarithmic.

    `table` has the columns `rows`, `generation` and `measure/statistic`, one row for each number of rows and
    generation. Frames of several chains, one after the other, are drawn in one figure, a colour for each number of
    rows. Lines are medians over the replicates, bands hold 90 % of them.
    """
    curves.require(table, ("rows", "generation"))
    sizes = np.unique(table["rows"]).tolist()
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 3.2), layout="constrained")
    panels = figure.subplots(1, len(_DISTANCES))
    colours = style.generation_colours(sizes)
    for axes, (measure, name) in zip(panels, _DISTANCES.items(), strict=True):
        for rows in sizes:
            chain = table[(table["rows"] == rows) & (table["generation"] > 0)].sort_values("generation")
            _draw_band(axes, chain, measure, colours[rows], f"{rows:,} rows")
        axes.set(ylabel=name, yscale="log")
        logarithmic_generation_axis(axes, int(table["generation"].max()))
    curves.legend_above(panels[0], columns=len(sizes))
    lines = "Lines: median over the replicates; bands: 5th to 95th percentile. KL is a Monte Carlo estimate;"
    style.label(figure, text, f"{lines} where it is not above 0 nothing is drawn. MW2 bounds W2 from above.")
    return figure


@style.paper()
def components_over_generations(components: pd.DataFrame, text: FigureText) -> Figure:
    """Ellipses of the components of one replicate, one standard deviation wide, coloured by generation."""
    curves.require(components, COMPONENT_COLUMNS)
    generations = np.unique(components["generation"]).tolist()
    colours = style.generation_colours(generations)
    figure = Figure(figsize=(style.SINGLE_COLUMN, 3.9), layout="constrained")
    axes = figure.subplots()
    for generation in generations:
        shown = components[components["generation"] == generation]
        _draw_ellipses(axes, shown, colours[generation], deviations=(1,))
        axes.plot([], [], color=colours[generation], label=f"{generation:,}")
    axes.autoscale_view()
    axes.set_aspect("equal", adjustable="datalim")
    curves.legend_above(axes, columns=5, title="generation")
    style.label(figure, text, "Components of one replicate, one standard deviation wide; pale: light components.")
    return figure


def _draw_band(axes: Axes, chain: pd.DataFrame, measure: str, colour: Colour, name: str) -> None:
    # A logarithmic axis has no place for zero and below.
    median, low, high = (
        chain[f"{measure}/{statistic}"].where(chain[f"{measure}/{statistic}"] > 0) for statistic in _BAND
    )
    places = chain["generation"] + 1
    axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(places, median, color=colour, linewidth=1.0, label=name)


def _draw_ellipses(
    axes: Axes, components: pd.DataFrame, colour: Colour, deviations: tuple[int, ...] = _DEVIATIONS
) -> None:
    """An ellipse for each component and number of standard deviations, the paler the lighter the component."""
    for numbers in components[list(COMPONENT_COLUMNS[1:])].to_numpy(dtype=float):
        weight, mean_x, mean_y, variance_x, variance_y, covariance = numbers
        variances, axes_of_ellipse = np.linalg.eigh([[variance_x, covariance], [covariance, variance_y]])
        angle = np.degrees(np.arctan2(axes_of_ellipse[1, 1], axes_of_ellipse[0, 1]))
        height, width = 2 * np.sqrt(np.maximum(variances, 0))
        for deviation in deviations:
            ellipse = Ellipse((mean_x, mean_y), deviation * width, deviation * height, angle=angle, fill=False)
            ellipse.set(edgecolor=colour, linewidth=1.0, alpha=0.25 + 0.75 * min(1.0, 2 * weight))
            axes.add_patch(ellipse)


def _panels(figure: Figure, count: int) -> list[Axes]:
    """So many panels, row by row; axis labels at the outer ones alone."""
    columns = min(count, _PANELS_ABREAST)
    grid = figure.subplots(-(-count // columns), columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for column in range(count % columns, columns) if count % columns else ():
        grid[-2, column].tick_params(labelbottom=True)
    return list(grid.flat[:count])


def _limits(samples: pd.DataFrame, components: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Lower left and upper right corner of what is shown."""
    places, means = samples[["x", "y"]].to_numpy(), components[["mean_x", "mean_y"]].to_numpy()
    beyond = (1 - _SHARE_SHOWN) / 2
    low, high = np.quantile(places, [beyond, 1 - beyond], axis=0)
    low, high = np.minimum(low, means.min(axis=0)), np.maximum(high, means.max(axis=0))
    room = 0.05 * (high - low)
    return low - room, high + room


def _samples_caption(shown: int, outside: int) -> str:
    beyond = f" {outside:,} samples lie outside the axes." if outside else ""
    ellipses = "components, one and two standard deviations wide, the paler the lighter"
    return f"{shown:,} samples of one replicate a generation; ellipses: its {ellipses}.{beyond}"
