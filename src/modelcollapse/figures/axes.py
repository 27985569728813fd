"""Axes that figures of runs, figures of sweeps and the page have alike."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

WIDE = 10.0
"""Largest over smallest value from which on an axis that may be logarithmic is."""


def is_wide(heights: np.ndarray) -> bool:
    """Whether positive values span so much that a logarithmic axis shows them better; others are left out."""
    positive = heights[np.isfinite(heights) & (heights > 0)]
    return positive.size > 0 and bool(positive.max() > WIDE * positive.min())


def generation_axis(axes: Axes) -> None:
    """Whole generations against a linear axis."""
    axes.set_xlabel("generation")
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def logarithmic_generation_axis(axes: Axes, last: int) -> None:
    """The generation plus one on a logarithmic axis, with the generations 0, 1, 2, 5, 10, ... as ticks."""
    axes.set_xscale("log")
    axes.set_xlabel("generation")
    rounds = [0, *(step * 10**decade for decade in range(6) for step in (1, 2, 5))]
    ticks = [generation for generation in rounds if generation <= last]
    if last >= 100:
        ticks = [generation for generation in ticks if str(generation)[0] in "01"]
    axes.xaxis.set_major_locator(FixedLocator([generation + 1 for generation in ticks]))
    axes.xaxis.set_major_formatter(lambda place, _: f"{round(place) - 1:,}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def logarithmic_values(axes: Axes, heights: np.ndarray) -> None:
    """A logarithmic axis of values; written-out ticks at 1, 2 and 5 of each decade where these are few.

    Never a single tick: below a factor of two the axis has evenly spaced ones.
    """
    axes.set_yscale("log")
    positive = heights[np.isfinite(heights) & (heights > 0)]
    span = positive.max() / positive.min() if positive.size else 1.0
    if span >= 1e3:
        return
    axes.yaxis.set_major_locator(
        MaxNLocator(5) if span < 2 else LogLocator(subs=(1, 2, 3, 5) if span < 30 else (1, 2, 5))
    )
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
