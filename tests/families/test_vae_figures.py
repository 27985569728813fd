"""What the figures of VAE chains show, read back from their axes."""

import numpy as np
import pandas as pd
import pytest

from modelcollapse.families.vae.figures import (
    elbo_by_generation,
    latent_densities,
    latents_by_generation,
    samples_by_generation,
    samples_measured_by_generation,
)
from modelcollapse.figures.style import FigureText

TEXT = FigureText(model="VAE", regime="replace", seeds="0", n="100 samples a generation")
RANDOM = np.random.default_rng(0)


def chain(generations=6, seeds=("0",)):
    rows = []
    for seed in seeds:
        for number in range(generations):
            spread = 0.9**number
            rows.append(
                {
                    "generation": number,
                    "seed": seed,
                    "synthetic/latent_spread": spread,
                    "synthetic/latent_mean": 0.01 * number,
                    "real/latent_spread": 1.0,
                    "real/latent_mean": 0.0,
                    "synthetic/kid": 0.1 * number,
                    "synthetic/precision": 0.5,
                    "synthetic/recall": spread,
                    "synthetic/class_entropy": 2.3 * spread,
                    "test/elbo": -100.0 - number,
                    "test/reconstruction": 80.0 + number,
                    "test/kl": 20.0,
                }
            )
    return pd.DataFrame(rows)


def panel(figure, name):
    return next(axes for axes in figure.axes if axes.get_ylabel() == name)


def test_grids_hold_the_samples_row_by_row():
    images = {number: RANDOM.integers(0, 256, (10, 28, 28)).astype(np.float16) for number in (-1, 0, 1, 2, 3, 4, 7)}
    figure = samples_by_generation(images, TEXT)
    drawn = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes if axes.images}
    assert list(drawn) == ["real", "generation 0", "generation 1", "generation 2", "generation 7"]
    grid = drawn["generation 7"]
    assert grid.shape == (84, 84)
    assert np.array_equal(grid[28:56, 56:84], images[7][5])


def test_all_grids_share_one_scale_of_grey():
    images = {0: np.full((4, 28, 28), 10, np.float16), 1: np.full((4, 28, 28), 200, np.float16)}
    limits = {axes.images[0].get_clim() for axes in samples_by_generation(images, TEXT).axes if axes.images}
    assert limits == {(0, 255)}


def test_densities_integrate_to_one_and_are_as_wide_as_their_values():
    frames = [
        pd.DataFrame({"generation": number, "latent_mean": RANDOM.normal(0, width, 500)})
        for number, width in ((-1, 1.0), (0, 1.0), (5, 0.3))
    ]
    (axes,) = latent_densities(pd.concat(frames), TEXT).axes
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert list(lines) == ["real", "0", "5"]
    for name, width in (("0", 1.0), ("5", 0.3)):
        x, density = lines[name].T
        assert np.trapezoid(density, x) == pytest.approx(1, abs=0.01)
        assert np.sqrt(np.trapezoid(density * x**2, x)) == pytest.approx(width, rel=0.15)


def test_a_generation_collapsed_to_a_point_has_no_density_and_the_caption_says_so():
    latents = pd.DataFrame(
        {"generation": [0] * 50 + [1] * 50, "latent_mean": np.r_[RANDOM.normal(size=50), np.zeros(50)]}
    )
    figure = latent_densities(latents, TEXT)
    assert [line.get_label() for line in figure.axes[0].lines] == ["0"]
    assert "All latent means of generation 1 are equal" in " ".join(figure.get_supxlabel().split())


def test_curves_are_the_metrics():
    frame = chain()
    spread = latents_by_generation(frame, TEXT).axes[0]
    values = {line.get_label(): line.get_ydata() for line in spread.lines}
    assert np.allclose(values["samples"], frame["synthetic/latent_spread"])
    assert set(values["real test images"]) == {1.0}
    assert spread.get_ylim()[0] == 0
    recall = panel(samples_measured_by_generation(frame, TEXT), "recall")
    assert np.allclose(recall.lines[0].get_ydata(), frame["synthetic/recall"])
    assert recall.get_ylim()[0] == 0
    assert recall.get_ylim()[1] > 1.0
    bound = panel(elbo_by_generation(frame, TEXT), "lower bound (nats per image)")
    assert np.allclose(bound.lines[0].get_ydata(), frame["test/elbo"])


def test_several_seeds_have_a_mean_and_a_band():
    figure = samples_measured_by_generation(chain(seeds=("0", "1", "2")), TEXT)
    assert "over n = 3 seeds" in " ".join(figure.get_supxlabel().split())
    assert all(axes.collections for axes in figure.axes)


def test_what_is_missing_is_reported():
    with pytest.raises(ValueError, match="lacks test/kl"):
        elbo_by_generation(chain().drop(columns="test/kl"), TEXT)
    with pytest.raises(ValueError, match="no generations"):
        samples_by_generation({}, TEXT)
