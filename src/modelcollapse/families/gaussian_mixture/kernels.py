"""Densities of Gaussian mixtures at many rows, and samples of them, compiled.

Letters in shapes: N rows, d dimensions, K components, B rows of a block. All arrays are float64.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from modelcollapse.compiled import compiled, exactly_compiled, intrinsic, types

Array = NDArray[np.float64]

BLOCK = 512
"""Rows that are worked on together: what the fastest cache holds of a few components."""
NARROWEST = 4 * float(np.finfo(np.float64).eps)
"""A deviation that is less, in units of the mean, is rounding."""

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
_LOG2_E = 1 / math.log(2)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""Their sum is ln 2; the first has few enough digits that its products with small integers are exact."""
_ROUNDER = 1.5 * 2.0**52
"""Added to a number it leaves the nearest integer in the low bits."""
_ROUNDER_BITS = int(np.float64(_ROUNDER).view(np.int64))
_ROOT_HALF_BITS = int(np.float64(math.sqrt(0.5)).view(np.int64))
_SMALLEST_EXPONENT = -708.0
_E = tuple(1 / math.factorial(power) for power in range(14))
_L = tuple(2 / (2 * power + 1) for power in range(11))


def _cast(context: Any, value: Any) -> Any:
    """Code for the same 64 bits as the other type: an int64 for a float64, and back."""
    is_float = isinstance(value, types.Float)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64) if is_float else ir.DoubleType())

    return (types.int64(types.float64) if is_float else types.float64(types.int64)), generate


_same_bits: Any = intrinsic(_cast)


@exactly_compiled
def exponential(exponent: float) -> float:
    """e^x of x <= 0 to one unit in the last place, without a branch: loops over it use vector instructions.

    Exponents below -708 give e^-708. x is n ln 2 + r with |r| <= 0.35, and e^r Taylor's polynomial.
    """
    x = max(exponent, _SMALLEST_EXPONENT)
    rounded = x * _LOG2_E + _ROUNDER
    n = rounded - _ROUNDER
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    high = ((((_E[13] * r + _E[12]) * r + _E[11]) * r + _E[10]) * r + _E[9]) * r + _E[8]
    low = (((((high * r + _E[7]) * r + _E[6]) * r + _E[5]) * r + _E[4]) * r + _E[3]) * r + _E[2]
    return _same_bits(_same_bits((low * r + 1.0) * r + 1.0) + (_same_bits(rounded) << 52))


@exactly_compiled
def logarithm(x: float) -> float:
    """ln x of a normal x > 0 to two units in the last place, without a branch.

    x is 2^n m with m in [sqrt 1/2, sqrt 2), and ln m the series of 2 artanh((m - 1) / (m + 1)).
    """
    exponent = (_same_bits(x) - _ROOT_HALF_BITS) >> 52
    m = _same_bits(_same_bits(x) - (exponent << 52))
    n = _same_bits(exponent + _ROUNDER_BITS) - _ROUNDER
    f = (m - 1.0) / (m + 1.0)
    s = f * f
    high = (((_L[10] * s + _L[9]) * s + _L[8]) * s + _L[7]) * s + _L[6]
    series = ((((high * s + _L[5]) * s + _L[4]) * s + _L[3]) * s + _L[2]) * s + _L[1]
    return n * _LN2_HIGH + (2.0 * f + (f * s * series + n * _LN2_LOW))


@compiled
def whiten(weights: Array, means: Array, covariances: Array, whitening: Array, constants: Array) -> bool:
    """Write what ``weighted_log_densities`` needs of a mixture; False where a component is too narrow for a density.

    ``whitening`` [K, d, d] become inverse lower Cholesky factors over sqrt 2, ``constants`` [K] the logarithms of
    weight times density at the mean. Too narrow is a component whose deviation is rounding of its mean.
    """
    components, dimensions = means.shape
    for k in range(components):
        inverse = whitening[k]
        constants[k] = math.log(weights[k]) - dimensions * _HALF_LOG_TWO_PI
        factor = covariances[k].copy()
        for i in range(dimensions):
            for j in range(i):
                for m in range(j):
                    factor[i, j] -= factor[i, m] * factor[j, m]
                factor[i, j] /= factor[j, j]
                factor[i, i] -= factor[i, j] * factor[i, j]
            if not factor[i, i] > (NARROWEST * means[k, i]) ** 2:
                return False
            factor[i, i] = math.sqrt(factor[i, i])
            constants[k] -= math.log(factor[i, i])
        for i in range(dimensions):
            for j in range(i):
                total = 0.0
                for m in range(j, i):
                    total -= factor[i, m] * inverse[m, j]
                inverse[i, j] = total / factor[i, i]
            inverse[i, i] = math.sqrt(0.5) / factor[i, i]
    return True


@compiled
def weighted_log_densities(
    columns: Array, block: slice, means: Array, whitening: Array, constants: Array, white: Array, logarithms: Array
) -> None:
    """Write the logarithms of weight times density of a block of the rows ``columns`` [d, N].

    They go to the same block of ``logarithms`` [K, N]; ``white`` [B] is scratch.
    """
    components, dimensions = means.shape
    for k in range(components):
        found = logarithms[k, block]
        for i in range(dimensions):
            for j in range(i):
                factor, mean, column = whitening[k, i, j], means[k, j], columns[j, block]
                if j == 0:
                    for n in range(len(column)):
                        white[n] = factor * (column[n] - mean)
                else:
                    for n in range(len(column)):
                        white[n] += factor * (column[n] - mean)
            factor, mean, column = whitening[k, i, i], means[k, i], columns[i, block]
            if i == 0:
                constant = constants[k]
                for n in range(len(column)):
                    found[n] = constant - (factor * (column[n] - mean)) ** 2
            else:
                for n in range(len(column)):
                    found[n] -= (white[n] + factor * (column[n] - mean)) ** 2


@compiled
def exponentiate(logarithms: Array, block: slice, largest: Array, totals: Array) -> None:
    """Turn a block of ``logarithms`` [K, N] into exponentials of their differences from the largest; add these up.

    ``largest`` [B] and ``totals`` [B] are written: the logarithm of the sum of the exponentials is
    largest + ln totals. Of two components only one exponential is not 1.
    """
    first, second = logarithms[0, block], logarithms[-1, block]
    rows = len(first)
    if len(logarithms) == 2:
        for n in range(rows):
            difference = second[n] - first[n]
            smaller = exponential(-abs(difference))
            largest[n] = max(first[n], second[n])
            first[n] = 1.0 if difference <= 0 else smaller
            second[n] = smaller if difference <= 0 else 1.0
            totals[n] = 1.0 + smaller
        return
    for n in range(rows):
        largest[n], totals[n] = first[n], 0.0
    for k in range(1, len(logarithms)):
        found = logarithms[k, block]
        for n in range(rows):
            largest[n] = max(largest[n], found[n])
    for k in range(len(logarithms)):
        found = logarithms[k, block]
        for n in range(rows):
            found[n] = exponential(found[n] - largest[n])
            totals[n] += found[n]


@compiled
def log_densities(columns: Array, weights: Array, means: Array, covariances: Array) -> Array:
    """Logarithms of the densities, [R, N], of R mixtures at rows of their own, ``columns`` [R, d, N].

    NaN where a component has none.
    """
    replicates, dimensions, rows = columns.shape
    components = weights.shape[1]
    whitening, constants = np.zeros((components, dimensions, dimensions)), np.empty(components)
    logarithms, white, totals = np.empty((components, rows)), np.empty(BLOCK), np.empty(BLOCK)
    found = np.empty((replicates, rows))
    for r in range(replicates):
        sound = whiten(weights[r], means[r], covariances[r], whitening, constants)
        for first in range(0, rows, BLOCK):
            block = slice(first, min(first + BLOCK, rows))
            largest = found[r, block]
            weighted_log_densities(columns[r], block, means[r], whitening, constants, white, logarithms)
            exponentiate(logarithms, block, largest, totals)
            for n in range(len(largest)):
                largest[n] = largest[n] + logarithm(totals[n]) if sound else np.nan
    return found


@compiled
def place_samples(noise: Array, uniforms: Array, weights: Array, means: Array, factors: Array) -> None:
    """Turn standard normal ``noise`` [R, d, N] into samples of R mixtures.

    ``uniforms`` [R, N] choose the components; ``factors`` [R, K, d, d] are the Cholesky factors of the covariances.
    """
    replicates, dimensions, rows = noise.shape
    components = weights.shape[1]
    for r in range(replicates):
        for n in range(rows):
            k, end = 0, weights[r, 0]
            while k < components - 1 and uniforms[r, n] >= end:
                k += 1
                end += weights[r, k]
            for i in range(dimensions - 1, -1, -1):
                place = means[r, k, i]
                for j in range(i + 1):
                    place += factors[r, k, i, j] * noise[r, j, n]
                noise[r, i, n] = place
