"""Axes: ticks that people write, and never a single one."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from modelcollapse.figures.axes import is_wide, logarithmic_generation_axis, logarithmic_values


def labels(axes, which):
    axes.figure.draw_without_rendering()
    axis = getattr(axes, which)
    low, high = sorted(axis.get_view_interval())
    return [tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


@pytest.mark.parametrize("low", [1e-6, 0.03, 1, 7, 20, 340])
@pytest.mark.parametrize("factor", [1.05, 1.7, 3, 9, 29, 31, 400, 2_000, 1e6])
def test_a_logarithmic_axis_has_several_written_ticks(low, factor):
    axes = Figure().subplots()
    axes.plot([0, 1], [low, low * factor])
    logarithmic_values(axes, np.array([low, low * factor]))
    shown = [label for label in labels(axes, "yaxis") if label]
    assert len(shown) >= 2


@pytest.mark.parametrize(
    ("last", "expected"),
    [(1, ["0", "1"]), (5, ["0", "1", "2", "5"]), (1000, ["0", "1", "10", "100", "1,000"])],
)
def test_generations_on_a_logarithmic_axis_are_written_as_they_are_counted(last, expected):
    axes = Figure().subplots()
    axes.plot(np.arange(last + 1) + 1, np.ones(last + 1))
    logarithmic_generation_axis(axes, last)
    assert labels(axes, "xaxis") == expected


def test_wide_is_more_than_a_factor_of_ten_between_positive_values():
    assert is_wide(np.array([1, 10.1, np.nan, np.inf]))
    assert not is_wide(np.array([1, 10, -5, 0]))
    assert not is_wide(np.array([]))
