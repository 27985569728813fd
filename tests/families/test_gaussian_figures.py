import numpy as np
import pandas as pd
import pytest

from modelcollapse.families.gaussian import figures, theory
from modelcollapse.figures.style import FigureText

TEXT = FigureText("Gaussian", "replace", "0", "50 replicates")
SIZES = (10, 100, 1000)


def chain(rows, generations=1):
    numbers = np.arange(generations)
    risk = theory.squared_wasserstein([rows] * generations, "unbiased")
    frame = pd.DataFrame({"rows": rows, "generation": numbers})
    frame["squared_mean_error/mean"] = frame["theory/squared_mean_error"] = (numbers + 1) / rows
    frame["squared_wasserstein/mean"] = frame["theory/squared_wasserstein"] = risk
    for measure in ("mean_error", "standard_deviation_error"):
        frame[f"{measure}/p05"], frame[f"{measure}/p95"] = 0.1 / rows, 3 / np.sqrt(rows)
    return frame


def test_errors_of_one_fit_lie_on_theory_for_every_number_of_rows():
    figure = figures.one_shot_errors(pd.concat([chain(rows, generations=3) for rows in SIZES]), TEXT)
    deviations, means = figure.axes[:2]
    expected, measured = (np.asarray(line.get_xydata()) for line in deviations.lines)
    np.testing.assert_array_equal(expected[:, 0], SIZES)
    np.testing.assert_allclose(measured, expected)
    # The standard deviation of s is close to sigma / sqrt(2 M), that of the mean sigma / sqrt(M).
    np.testing.assert_allclose(expected[1:, 1], 1 / np.sqrt(2 * np.array(SIZES[1:])), rtol=0.02)
    np.testing.assert_allclose(np.asarray(means.lines[1].get_ydata()), 1 / np.sqrt(SIZES))
    assert "50 replicates" in "".join(text.get_text() for text in figure.texts)


def test_one_number_of_rows_is_no_curve():
    with pytest.raises(ValueError, match="at least two"):
        figures.one_shot_errors(chain(10), TEXT)
