"""Expectations of logistic functions of s z for a standard normal variable z, by quadrature.

Up to s = :data:`STEEP` by Gauss-Hermite nodes for z. Beyond, a function that falls as exp(-s |z|) gets narrower than
the nodes are close, and the integral is over u = s |z|, by Gauss-Legendre nodes: E[f(s |z|)] is 2 / s times the
integral of f(u) phi(u / s).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

NODES = 200
STEEP = 1.0
"""Here both are exact to rounding: the first for all smaller s, the second for all larger ones."""
REACH = 45.0
"""Where exp(-u) is nothing beside 1 in double precision."""


@cache
def normal_nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places z and weights that sum to 1: the sum of weights times f(z) is E[f(z)] for z ~ N(0, 1)."""
    places, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return places, weights / weights.sum()


@cache
def decaying_nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places u and weights: the sum of weights times f(u) is the integral from 0 of an f that falls as exp(-u)."""
    places, weights = np.polynomial.legendre.leggauss(NODES)
    return REACH / 2 * (1 + places), REACH / 2 * weights


def expected_slope(steepness: float, power: int = 0) -> float:
    """E[sigmoid'(s z) z^power] for s = ``steepness`` and an even power."""
    if steepness <= STEEP:
        places, weights = normal_nodes()
        return float((weights * _slope(steepness * places) * places**power).sum())
    distances, weights = decaying_nodes()
    normal = np.exp(-((distances / steepness) ** 2) / 2) / np.sqrt(2 * np.pi)
    return float(2 / steepness * (weights * _slope(distances) * normal * (distances / steepness) ** power).sum())


def _slope(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """sigmoid'(x) = exp(-|x|) / (1 + exp(-|x|))^2."""
    falling = np.exp(-np.abs(logits))
    return falling / (1 + falling) ** 2
