"""Figures of chains of variational autoencoders.

Every function takes what is measured and a `FigureText` and returns a matplotlib `Figure` with title and caption.
Functions raise `ValueError` for missing columns and when nothing is left to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelcollapse.figures import curves, style
from modelcollapse.figures.style import FigureText

if TYPE_CHECKING:
    import pandas as pd


REAL = -1
"""What stands for the generation of real images."""
SHOWN_GENERATIONS = (0, 1, 2, 5, 10, 20)
"""The generations drawn beside each other, where they exist; the paper shows 0, 5, 10 and 20."""

_MOST_COLUMNS = 4
_DENSITY_POINTS = 400
_GREY_LEVELS = 255
_HEADROOM = 1.08
_LATENTS = {"synthetic/latent_spread": "standard deviation", "synthetic/latent_mean": "mean"}
_MEASURES = {
    "synthetic/kid": "KID",
    "synthetic/class_entropy": "entropy of the classes (nats)",
    "synthetic/precision": "precision",
    "synthetic/recall": "recall",
}
_ELBO = {
    "test/elbo": "lower bound (nats per image)",
    "test/reconstruction": "reconstruction loss (nats)",
    "test/kl": "KL divergence (nats)",
}


@style.paper()
def samples_by_generation(images: Mapping[int, npt.NDArray[np.float16]], text: FigureText) -> Figure:
    """Square grids of samples, one a generation, beside each other.

    `images`: grey levels from 0 to 255, [rows, height, width], by generation, real ones under -1. Of the generations
    those of `SHOWN_GENERATIONS` and the last are drawn.
    """
    numbers = _shown(images)
    rows = -(-len(numbers) // _MOST_COLUMNS)
    columns = max(3, -(-len(numbers) // rows))
    height = 0.6 + rows * (0.25 + style.DOUBLE_COLUMN / columns)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, number in zip(panels, numbers, strict=False):
        axes.imshow(_grid(images[number]), cmap="gray_r", vmin=0, vmax=_GREY_LEVELS, interpolation="nearest")
        axes.set_title("real" if number == REAL else f"generation {number}")
    style.label(figure, text, "Samples are the decoder's means at z ~ N(0, I), not chosen.")
    return figure


def _shown(numbers: Mapping[int, object]) -> list[int]:
    if not numbers:
        raise ValueError("there are no generations to draw")
    return [number for number in sorted(numbers) if number in {REAL, *SHOWN_GENERATIONS, max(numbers)}]


def _grid(images: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """The first images as one square picture."""
    side = isqrt(len(images))
    height, width = images.shape[1:]
    tiles = images[: side * side].astype(np.float32).reshape(side, side, height, width)
    return tiles.transpose(0, 2, 1, 3).reshape(side * height, side * width)


@style.paper()
def latent_densities(latents: pd.DataFrame, text: FigureText) -> Figure:
    """Densities of the latent means of each generation's samples under the first generation's encoder.

    Columns: `generation`, `latent_mean`; real test images in rows of generation -1. Kernel density estimates with
    Scott's bandwidth, all dimensions of the latent space together.
    """
    curves.require(latents, ("generation", "latent_mean"))
    owners, means = latents["generation"].to_numpy(dtype=int), latents["latent_mean"].to_numpy(dtype=float)
    values = {number: means[owners == number] for number in np.unique(owners).tolist()}
    numbers = _shown(values)
    colours = {REAL: style.GREY, **style.generation_colours(set(numbers) - {REAL})}
    edge = max(float(np.abs(values[number]).max()) for number in numbers)
    grid = np.linspace(-edge, edge, _DENSITY_POINTS)
    figure = Figure(figsize=(style.SINGLE_COLUMN, 2.9), layout="constrained")
    axes = figure.subplots()
    drawn = [number for number in numbers if np.ptp(values[number]) > 0]
    for number in drawn:
        name, dashes = ("real", "--") if number == REAL else (str(number), "-")
        axes.plot(grid, _density(values[number], grid), color=colours[number], linestyle=dashes, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("latent mean under generation 0's encoder")
    axes.set_ylabel("density")
    curves.legend_above(axes, columns=7, title="generation")
    points = [str(number) for number in numbers if number not in drawn]
    note = f"All latent means of generation {', '.join(points)} are equal; not drawn." if points else ""
    style.label(figure, text, curves.caption("Kernel density estimates, all latent dimensions together.", note))
    return figure


def _density(values: npt.NDArray[np.float64], grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.stats import gaussian_kde

    density: npt.NDArray[np.float64] = gaussian_kde(values)(grid)
    return density


@style.paper()
def latents_by_generation(generations: pd.DataFrame, text: FigureText) -> Figure:
    """Standard deviation and mean of the samples' latent means under generation 0's encoder, by generation.

    Columns: `generation`, `seed`, `synthetic/latent_spread`, `synthetic/latent_mean`; optional
    `real/latent_spread`, `real/latent_mean`, dotted.
    """
    figure = _panels(generations, _LATENTS, text, rows=1)
    for axes, column in zip(figure.axes, ("real/latent_spread", "real/latent_mean"), strict=True):
        _real_line(axes, generations, column)
    _from_zero(figure.axes[0])
    figure.axes[0].set_ylabel("latent means, std. deviation")
    figure.axes[1].set_ylabel("latent means, mean")
    return figure


def _real_line(axes: Axes, generations: pd.DataFrame, column: str) -> None:
    if column in generations and np.isfinite(generations[column]).any():
        value = float(generations[column].mean())
        axes.axhline(value, color=style.GREY, linestyle=":", linewidth=1.0, zorder=1, label="real test images")
        curves.legend_above(axes, columns=2)


@style.paper()
def samples_measured_by_generation(generations: pd.DataFrame, text: FigureText) -> Figure:
    """KID, precision, recall and the entropy of the classes of each generation's samples.

    Columns: `generation`, `seed`, `synthetic/kid`, `synthetic/precision`, `synthetic/recall`,
    `synthetic/class_entropy`.
    """
    figure = _panels(generations, _MEASURES, text, rows=2)
    for axes in figure.axes[1:]:
        _from_zero(axes)
    return figure


@style.paper()
def elbo_by_generation(generations: pd.DataFrame, text: FigureText) -> Figure:
    """The evidence lower bound of real test images, and its two parts, in nats per image.

    Columns: `generation`, `seed`, `test/elbo`, `test/reconstruction`, `test/kl`.
    """
    return _panels(generations, _ELBO, text, rows=1)


def _from_zero(axes: Axes) -> None:
    _, high = curves.extent(axes)
    if high > 0:
        axes.set_ylim(0, _HEADROOM * high)


def _panels(generations: pd.DataFrame, columns: Mapping[str, str], text: FigureText, rows: int) -> Figure:
    """A panel a column, each against the generation."""
    tables = curves.by_seed(generations, list(columns))
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 0.6 + 2.1 * rows), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(rows, len(columns) // rows, squeeze=False).ravel().tolist()
    for axes, (column, name) in zip(panels, columns.items(), strict=True):
        curves.draw_seeds(axes, tables[column], "samples", text.regime)
        axes.set_ylabel(name)
    dropped = curves.dropped_note(generations[list(tables)])
    style.label(figure, text, curves.caption(curves.seeds_note(tables), dropped))
    return figure
