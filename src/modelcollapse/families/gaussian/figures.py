"""Figures of Gaussian chains: measures over the replicates beside their closed forms.

Every function takes a data frame with one row for each number of rows M and generation, and a `FigureText`. Columns are
`rows`, `generation`, `measure/statistic` for the measures of `families.gaussian.estimator` and `theory/...`, NaN where
no closed form is known. Frames of several chains, one after the other, are drawn in one figure, a colour for each M.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from modelcollapse.figures import curves, style
from modelcollapse.figures.axes import logarithmic_generation_axis
from modelcollapse.figures.style import FigureText

if TYPE_CHECKING:
    import pandas as pd


_MEAN_ERROR_SQUARES = ("squared_mean_error/mean", "theory/squared_mean_error")


@dataclass(frozen=True)
class _Band:
    """What one panel draws of one M: a line, a band, and theory."""

    line: np.ndarray
    low: np.ndarray
    high: np.ndarray
    theory: np.ndarray


BandOf = Callable[["pd.DataFrame"], _Band]


@style.paper()
def estimation_errors(table: pd.DataFrame, text: FigureText) -> Figure:
    """|mu - mu_hat| and |sigma - sigma_hat| against the generation, as the paper draws them: log x, a colour for each
    M.

    Lines are root mean squares over the replicates, bands hold 90 % of them. In more than one dimension the second
    panel is the Bures distance of the covariances.
    """
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 3.3), layout="constrained")
    means, deviations = figure.subplots(1, 2)
    _draw(means, table, _mean_errors)
    _draw(deviations, table, _deviation_errors)
    means.set_ylabel(r"$|\mu - \hat{\mu}|$")
    deviations.set_ylabel(r"$|\sigma - \hat{\sigma}|$")
    _legend(figure, table)
    style.label(figure, text, _caption("root mean square over the replicates", table))
    return figure


@style.paper()
def risk_and_variance(table: pd.DataFrame, text: FigureText) -> Figure:
    """E[W2^2] to the true Gaussian, Var(X^n), and the estimated variance, whose typical value goes to zero.

    The third panel's line is the geometric mean over the replicates. Dotted: the paper's first order of E[W2^2].
    """
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 3.3), layout="constrained")
    risk, spread, variance = figure.subplots(1, 3)
    _draw(risk, table, _of_measure("squared_wasserstein"))
    _draw(spread, table, _of_measure("spread_about_true_mean"))
    _draw(variance, table, _geometric_variances)
    for rows, chain in _chains(table):
        first_order = chain["theory/squared_wasserstein_first_order"]
        risk.plot(chain["generation"] + 1, first_order, color=_colour(table, rows), linestyle=":", linewidth=0.9)
    risk.set_ylabel("squared 2-Wasserstein distance")
    spread.set_ylabel(r"$\mathrm{Var}(X^n)$")
    variance.set_ylabel("estimated variance")
    for axes in (risk, spread, variance):
        axes.set_yscale("log")
    _legend(figure, table)
    lines = "mean over the replicates, in the last panel their geometric mean; dotted: first order, 3/2 sum 1/M_i"
    style.label(figure, text, _caption(lines, table))
    return figure


@style.paper()
def one_shot_errors(table: pd.DataFrame, text: FigureText) -> Figure:
    """|sigma - sigma_hat| and |mu - mu_hat| of one fit to M samples of the true Gaussian, against M: generation 0 of
    chains that differ in M, and may differ in their seeds.

    Points are root mean squares over the replicates of a chain, bars hold 90 % of them, the line is theory. Raises
    ValueError where there are fewer than two M.
    """
    first = table[table["generation"] == 0].sort_values("rows")
    if first["rows"].nunique() < 2:
        raise ValueError("errors against the number of rows take chains of at least two numbers of rows")
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 3.0), layout="constrained")
    deviations, means = figure.subplots(1, 2)
    for axes, band_of in ((deviations, _deviation_errors), (means, _mean_errors)):
        _draw_against_rows(axes, first["rows"].to_numpy(), band_of(first))
    deviations.set_ylabel(r"$|\sigma - \hat{\sigma}|$")
    means.set_ylabel(r"$|\mu - \hat{\mu}|$")
    caption = "Points: root mean square over the replicates; bars: 5th to 95th percentile; grey: exactly expected."
    style.label(figure, text, caption)
    return figure


def _draw_against_rows(axes: Axes, sizes: np.ndarray, band: _Band) -> None:
    axes.plot(sizes, band.theory, zorder=1, **style.THEORY)
    axes.vlines(sizes, band.low, band.high, color=style.BLUE, alpha=0.35, linewidth=3)
    axes.plot(sizes, band.line, "o", color=style.BLUE, markersize=4)
    axes.set(xscale="log", yscale="log", xlabel="M, samples of the fit")


def _draw(axes: Axes, table: pd.DataFrame, band_of: BandOf) -> None:
    logarithmic_generation_axis(axes, int(table["generation"].max()))
    for rows, chain in _chains(table):
        places, colour, band = chain["generation"] + 1, _colour(table, rows), band_of(chain)
        axes.plot(places, band.theory, zorder=1, **style.THEORY)
        axes.fill_between(places, band.low, band.high, color=colour, alpha=0.18, linewidth=0, zorder=2)
        axes.plot(places, band.line, color=colour, linewidth=1.0, zorder=3)


def _chains(table: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    curves.require(table, ("rows", "generation"))
    for rows in np.unique(table["rows"]).tolist():
        yield rows, table[table["rows"] == rows].sort_values("generation")


def _colour(table: pd.DataFrame, rows: int) -> tuple[float, float, float, float]:
    return style.generation_colours(table["rows"].unique().tolist())[rows]


def _mean_errors(chain: pd.DataFrame) -> _Band:
    line, theory = (np.sqrt(chain[name].to_numpy()) for name in _MEAN_ERROR_SQUARES)
    return _with_percentiles(chain, "mean_error", line, theory)


def _deviation_errors(chain: pd.DataFrame) -> _Band:
    squares = chain["squared_wasserstein/mean"] - chain["squared_mean_error/mean"]
    theory = chain["theory/squared_wasserstein"] - chain["theory/squared_mean_error"]
    line, expected = (np.sqrt(values.clip(lower=0).to_numpy()) for values in (squares, theory))
    return _with_percentiles(chain, "standard_deviation_error", line, expected)


def _geometric_variances(chain: pd.DataFrame) -> _Band:
    band = _of_measure("log_determinant")(chain)
    return _Band(*(np.exp(values) for values in (band.line, band.low, band.high, band.theory)))


def _of_measure(name: str) -> BandOf:
    def band(chain: pd.DataFrame) -> _Band:
        line, theory = chain[f"{name}/mean"].to_numpy(), chain[f"theory/{name}"].to_numpy()
        return _with_percentiles(chain, name, line, theory)

    return band


def _with_percentiles(chain: pd.DataFrame, name: str, line: np.ndarray, theory: np.ndarray) -> _Band:
    return _Band(line, chain[f"{name}/p05"].to_numpy(), chain[f"{name}/p95"].to_numpy(), theory)


def _legend(figure: Figure, table: pd.DataFrame) -> None:
    sizes = [Line2D([], [], color=_colour(table, rows), label=f"M = {rows:,}") for rows, _ in _chains(table)]
    theory = Line2D([], [], label="theory", **style.THEORY)
    band = Patch(color=style.GREY, alpha=0.3, linewidth=0, label="90 %")
    figure.legend(handles=[*sizes, band, theory], loc="outside upper right", ncols=3)


def _caption(lines: str, table: pd.DataFrame) -> str:
    known = bool(table["theory/squared_mean_error"].notna().any())
    return curves.caption(
        f"Lines: {lines}; bands: 5th to 95th percentile.",
        "Grey: the same, exactly expected; late means rest on a few replicates and scatter widely."
        if known
        else "No closed form is known for this regime.",
    )
