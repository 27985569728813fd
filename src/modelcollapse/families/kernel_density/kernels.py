"""The two kernels: their densities, how they are drawn from, and how wide they are."""

import math

import numpy as np
import torch

from modelcollapse.families.kernel_density.settings import Kernel

MOST_AT_ONCE = 2**22
"""Distances that are held at once, 32 MB."""


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

    ``weights`` [N] of the kernels have mean 1. Minus infinity where no ball reaches.
    """
    count, dimension = rows.shape[1:]
    volume = _log_volume(kernel, dimension) + dimension * math.log(bandwidth)
    logarithms = None if weights is None else weights.log()
    group = max(1, MOST_AT_ONCE // (points.shape[1] * count))
    parts = [
        _log_sums(
            kernel, points[first : first + group] / bandwidth, rows[first : first + group] / bandwidth, logarithms
        )
        for first in range(0, len(points), group)
    ]
    return torch.cat(parts) - math.log(count) - volume


def _log_volume(kernel: Kernel, dimension: int) -> float:
    """Logarithm of what makes the kernel of bandwidth 1 a density."""
    if kernel == "gaussian":
        return dimension / 2 * math.log(2 * math.pi)
    return dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)


def _log_sums(
    kernel: Kernel, points: torch.Tensor, rows: torch.Tensor, logarithms: torch.Tensor | None
) -> torch.Tensor:
    squares = _squared_distances(points, rows)
    heights = squares.mul_(-0.5) if kernel == "gaussian" else (squares <= 1).double().log_()
    return (heights if logarithms is None else heights + logarithms).logsumexp(2)


def _squared_distances(points: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """[R, K, N]; coordinate by coordinate, which loses no digits to a distance from the origin."""
    total = torch.zeros(points.shape[0], points.shape[1], rows.shape[1], dtype=torch.float64)
    for coordinate in range(points.shape[2]):
        total += (points[:, :, None, coordinate] - rows[:, None, :, coordinate]).square_()
    return total
