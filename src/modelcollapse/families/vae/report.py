"""Reads finished artifacts of a VAE chain: metrics, tables, figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from modelcollapse.families.base import ChainReport, ChainTitle, GenerationResult
from modelcollapse.families.vae import figures
from modelcollapse.families.vae.figures import REAL
from modelcollapse.families.vae.published import read_lines, read_measured
from modelcollapse.figures import curves
from modelcollapse.figures.style import FigureText
from modelcollapse.selections.choosing import selection_metrics


@dataclass(frozen=True)
class ImagesResult(GenerationResult):
    """A generation's result, and images to look at."""

    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Grey images [rows, 28, 28] of ``samples``, and of ``real`` test images."""


def generation_result(generation: int, folders: Mapping[str, Path], metrics: Mapping[str, float]) -> ImagesResult:
    """Read the result of one generation from its artifacts, role -> folder."""
    measured = {name: tensor.numpy() for name, tensor in read_measured(folders["measures"]).items()}
    distributions = {"synthetic/latent_means": measured["latents"].ravel()}
    images = {"samples": measured["shown"]}
    if generation == 0:
        distributions["real/latent_means"] = measured["real_latents"].ravel()
        images["real"] = measured["real_shown"]
    return ImagesResult(
        metrics={**metrics, **selection_metrics(folders)},
        distributions=distributions,
        epochs=read_lines(folders["scores"]),
        images=images,
    )


def chain_report(results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> ChainReport:
    """The latent means as a table, and the figures."""
    latents = latent_means(results)
    generations = pd.DataFrame(
        [{"generation": number, "seed": title.seeds, **result.metrics} for number, result in results]
    )
    images, first = shown_images(results), results[0][1].metrics
    shown, means = len(images[0]), int((latents["generation"] == 0).sum())
    of_samples = _text(title, first.get("synthetic/samples"), "samples a generation")
    of_means = _text(title, means, "latent means a generation")
    of_images = _text(title, first.get("test/images"), "real test images")
    of_shown = _text(title, shown, "samples a generation")
    drawn = curves.drawn(
        {
            "samples_by_generation": partial(figures.samples_by_generation, images, of_shown),
            "latent_densities": partial(figures.latent_densities, latents, of_means),
            "latents_by_generation": partial(figures.latents_by_generation, generations, of_means),
            "samples_measured_by_generation": partial(figures.samples_measured_by_generation, generations, of_samples),
            "elbo_by_generation": partial(figures.elbo_by_generation, generations, of_images),
        }
    )
    return ChainReport(tables={"latent_means": latents}, documents={}, figures=drawn)


def _text(title: ChainTitle, count: float | None, what: str) -> FigureText:
    """``count`` is None where the metric that counts them was left out."""
    n = what if count is None else f"{count:,.0f} {what}"
    return FigureText(model=title.model, regime=title.regime, seeds=title.seeds, n=n)


def latent_means(results: Sequence[tuple[int, GenerationResult]]) -> pd.DataFrame:
    """One row a latent dimension of a sample: generation (-1 for real test images), latent_mean."""
    found = {REAL: results[0][1].distributions["real/latent_means"]}
    found |= {number: result.distributions["synthetic/latent_means"] for number, result in results}
    frames = [pd.DataFrame({"generation": number, "latent_mean": values}) for number, values in found.items()]
    return pd.concat(frames, ignore_index=True)


def shown_images(results: Sequence[tuple[int, GenerationResult]]) -> dict[int, np.ndarray]:
    """Grey images [rows, 28, 28] by generation, real test images under -1."""
    shown = {}
    for number, result in results:
        assert isinstance(result, ImagesResult)
        if "real" in result.images:
            shown[REAL] = result.images["real"]
        shown[number] = result.images["samples"]
    return shown
