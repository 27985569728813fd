"""Closed forms of kernel density estimates of what the estimate before wrote (Kazdan et al. 2024)."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from modelcollapse.data import data_of
from modelcollapse.families.estimators.theory import Columns, Floats, Plan
from modelcollapse.families.kernel_density.estimator import scott_bandwidth
from modelcollapse.families.kernel_density.kernels import coordinate_variance
from modelcollapse.families.kernel_density.settings import KernelDensitySettings
from modelcollapse.regimes import Source, compose, count_rows, held_rows


def true_variance(data: Any) -> float:
    """Variance of the true distribution, mean over the coordinates."""
    source = data_of(data)
    if source is not None:
        return float(source.variance)
    return sum(row[place] for place, row in enumerate(data.covariance)) / len(data.mean)


def spreads(plan: Plan, true: float, widths: Floats) -> Floats:
    """E[(x - mu)^2] of the density of each generation about the true mean, for any regime; exact.

    ``true`` is that of the real data, ``widths`` [N + 1] are the variances of the kernels. The density adds its kernel
    to the rows of its training set, and those are draws of the densities before: their second moments about one fixed
    point mix as the rows do. For sets of one size, 1 + t h^2 under replace and 1 + h^2 (1 + 1/2 + ... + 1/t) under
    accumulate, t the number of the fit.
    """
    of_rows: list[float] = []
    of_densities: list[float] = []
    for generation in range(plan.generations + 1):
        shares = _shares(plan, generation)
        of_rows.append(sum(share * _moment(source, true, of_rows, of_densities) for source, share in shares))
        of_densities.append(of_rows[-1] + widths[generation])
    return np.array(of_densities)


def _moment(source: Source, true: float, of_rows: list[float], of_densities: list[float]) -> float:
    if source.kind == "synthetic":
        return of_densities[source.generation or 0]
    return of_rows[source.generation or 0] if source.kind == "training" else true


def _shares(plan: Plan, generation: int) -> Iterator[tuple[Source, float]]:
    """The sets that a training set is drawn from, and the part of its weight that each has, 1 together."""
    draws = compose(plan.regime, generation, seed=0)
    sizes = {source: held_rows(source, plan.regime, plan.rows) for draw in draws for source in draw.sources}
    counts = count_rows(draws, sizes, plan.rows)
    for draw, count in zip(draws, counts, strict=True):
        part = count / sum(counts) if draw.weight is None else draw.weight
        held = sum(sizes[source] for source in draw.sources)
        yield from ((source, part * sizes[source] / held) for source in draw.sources)


def replaced_variances(sizes: list[int], true: float, widths: Floats) -> Floats:
    """E of the rows' variance (1/N) about their own mean, where each set is drawn from the density before.

    s_t = (1 - 1/M_t) (s_{t-1} + h^2), which for equal sizes stops at (M - 1) h^2.
    """
    found, density = [], true
    for rows, width in zip(sizes, widths, strict=True):
        found.append((1 - 1 / rows) * density)
        density = found[-1] + width
    return np.array(found)


def kernel_density_expectations(plan: Plan, model: KernelDensitySettings, data: Any) -> Columns:
    """Expected measures of a chain: the spread under every regime, the rows' variance under replacement."""
    generations, dimension = range(plan.generations + 1), data.numbers_per_row
    rows = [held_rows(Source("training", generation), plan.regime, plan.rows) for generation in generations]
    bandwidths = np.array([model.bandwidth or scott_bandwidth(count, dimension) for count in rows])
    widths = bandwidths**2 * coordinate_variance(model.kernel, dimension)
    true, sizes, unknown = true_variance(data), plan.sizes(), np.full(plan.generations + 1, np.nan)
    return {
        "test_loss": unknown,
        "spread": spreads(plan, true, widths),
        "variance": unknown if sizes is None else replaced_variances(sizes, true, widths),
    }
