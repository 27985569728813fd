"""The two kernels: their densities, how they are drawn from, and how wide they are."""

import math

import numpy as np
import torch

from modelcollapse.families.kernel_density.settings import Kernel

MOST_AT_ONCE = 2**17
"""Distances that are held at once: 1 MB, which stays in the cache of a core from one pass over them to the next."""


def coordinate_variance(kernel: Kernel, dimension: int) -> float:
    """Variance of each coordinate of a kernel of bandwidth 1: a ball of radius h has h^2 / (d + 2)."""
    return 1.0 if kernel == "gaussian" else 1 / (dimension + 2)


def kernel_noise(kernel: Kernel, shape: tuple[int, ...], generator: np.random.Generator) -> torch.Tensor:
    """Draws from a kernel of bandwidth 1; the last dimension of ``shape`` is that of the rows."""
    normal = torch.from_numpy(generator.standard_normal(shape))
    if kernel == "gaussian":
        return normal
    radii = torch.from_numpy(generator.random(shape[:-1])) ** (1 / shape[-1])
    return normal / normal.norm(dim=-1, keepdim=True) * radii[..., None]


def log_densities(
    kernel: Kernel, points: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor | None, bandwidth: float
) -> torch.Tensor:
    """Natural logarithm of the density at ``points`` [R, K, d] of kernels around ``rows`` [R, N, d], [R, K].

    ``weights`` of the kernels, [N] or [R, N], have mean 1. Minus infinity where no ball reaches.
    """
    count, dimension = rows.shape[1:]
    volume = _log_volume(kernel, dimension) + dimension * math.log(bandwidth)
    scaled = points / bandwidth, rows / bandwidth
    at_once = max(1, MOST_AT_ONCE // count)
    replicates, group = max(1, at_once // points.shape[1]), min(at_once, points.shape[1])
    found = torch.empty(points.shape[:2], dtype=torch.float64)
    for first in range(0, len(points), replicates):
        of_replicates = slice(first, first + replicates)
        for place in range(0, points.shape[1], group):
            some = scaled[0][of_replicates, place : place + group]
            own = weights if weights is None or weights.ndim == 1 else weights[of_replicates]
            found[of_replicates, place : place + group] = _log_sums(kernel, some, scaled[1][of_replicates], own)
    return found - math.log(count) - volume


def _log_volume(kernel: Kernel, dimension: int) -> float:
    """Logarithm of what makes the kernel of bandwidth 1 a density."""
    if kernel == "gaussian":
        return dimension / 2 * math.log(2 * math.pi)
    return dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)


def _log_sums(kernel: Kernel, points: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Logarithm of the sum of the kernels' heights, each over its height at its centre, [R, K]."""
    exponents = _exponents(points, rows)
    if kernel == "tophat":
        return _summed((exponents >= -0.5).double(), weights).log()
    # Relative to the nearest row, whose kernel is the highest.
    highest = exponents.amax(2, keepdim=True)
    return _summed(exponents.sub_(highest).exp_(), weights).log() + highest[..., 0]


def _summed(heights: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    if weights is None:
        return heights.sum(2)
    return heights @ weights if weights.ndim == 1 else (heights @ weights[..., None])[..., 0]


def _exponents(points: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Minus half the squared distances, [R, K, N], as one product: x · y - |x|^2 / 2 - |y|^2 / 2.

    About the mean of the rows, so that nothing is lost to a distance from the origin.
    """
    centre = rows.mean(1, keepdim=True)
    left, right = points - centre, rows - centre
    halves = [-each.square().sum(2, keepdim=True) / 2 for each in (left, right)]
    left = torch.cat([left, halves[0], torch.ones_like(halves[0])], dim=2)
    right = torch.cat([right, torch.ones_like(halves[1]), halves[1]], dim=2)
    return left @ right.mT
