import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Ellipse

from modelcollapse.families.gaussian_mixture import figures
from modelcollapse.figures import style
from modelcollapse.figures.style import FigureText

TEXT = FigureText("Gaussian mixture", "replace", "0", "5 replicates of 1,000 real rows")


def samples(generations, rows=200, scale=1.0):
    generator = np.random.default_rng(0)
    parts = [
        pd.DataFrame(scale * generator.normal(size=(rows, 2)), columns=["x", "y"]).assign(generation=generation)
        for generation in generations
    ]
    return pd.concat(parts)


def components(generations):
    rows = [
        {
            "generation": generation,
            "weight": weight,
            "mean_x": weight,
            "mean_y": 0.0,
            "variance_x": 4.0,
            "variance_y": 1.0,
            "covariance_xy": 0.0,
        }
        for generation in generations
        for weight in (0.1, 0.9)
    ]
    return pd.DataFrame(rows)


def distances(sizes=(500, 1000), generations=30):
    generator, frames = np.random.default_rng(0), []
    for rows in sizes:
        frame = pd.DataFrame({"rows": rows, "generation": np.arange(generations)})
        for measure in ("squared_l2_to_first", "kl_from_first", "wasserstein_upper_bound"):
            values = np.linspace(0, 1, generations) + 0.01 * generator.random(generations)
            for statistic, factor in (("median", 1.0), ("p05", 0.5), ("p95", 2.0)):
                frame[f"{measure}/{statistic}"] = factor * values
        frames.append(frame)
    return pd.concat(frames)


def ellipses(axes):
    return [patch for patch in axes.patches if isinstance(patch, Ellipse)]


def test_every_generation_has_a_panel_with_its_samples_and_ellipses():
    shown = (0, 50, 100, 150, 200, 350, 2000)
    figure = figures.samples_by_generation(samples(shown), components(shown), TEXT)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [f"generation {number:,}" for number in shown]
    for axes in panels:
        assert len(axes.lines[0].get_xdata()) == 200
        assert len(ellipses(axes)) == 4
        assert axes.get_xlim() == panels[0].get_xlim()
    light, _, heavy, _ = ellipses(panels[0])
    assert light.get_alpha() < heavy.get_alpha()
    assert (heavy.width, heavy.height, heavy.angle % 180) == (4.0, 2.0, 0.0)


def test_samples_outside_the_axes_are_reported():
    far = samples([0], rows=3000)
    far.iloc[0, :2] = 1e6
    figure = figures.samples_by_generation(far, components([0]), TEXT)
    assert "samples lie outside the axes" in " ".join(figure.get_supxlabel().splitlines())
    assert figure.axes[0].get_xlim()[1] < 100


def test_distances_are_drawn_for_each_number_of_rows_from_generation_1_on():
    figure = figures.distances_by_generation(distances(), TEXT)
    for axes in figure.axes:
        assert len(axes.lines) == 2
        assert min(axes.lines[0].get_xdata()) == 2
        assert axes.get_xscale() == "log"
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "log"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["500 rows", "1,000 rows"]


def test_the_ellipses_of_a_generation_have_its_colour():
    figure = figures.components_over_generations(components((0, 10, 20)), TEXT)
    colours = style.generation_colours((0, 10, 20))
    drawn = [patch.get_edgecolor()[:3] for patch in ellipses(figure.axes[0])]
    assert drawn == [colours[generation][:3] for generation in (0, 0, 10, 10, 20, 20)]


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match="covariance_xy"):
        figures.components_over_generations(components([0]).drop(columns="covariance_xy"), TEXT)
    with pytest.raises(ValueError, match="rows"):
        figures.distances_by_generation(distances().drop(columns="rows"), TEXT)


def test_equal_chains_give_equal_pictures(tmp_path):
    drawn = [figures.samples_by_generation(samples([0, 1]), components([0, 1]), TEXT) for _ in range(2)]
    saved = [style.save(figure, tmp_path / str(number), "samples") for number, figure in enumerate(drawn)]
    assert saved[0][0].read_bytes() == saved[1][0].read_bytes()
    assert saved[0][1].read_bytes() == saved[1][1].read_bytes()
