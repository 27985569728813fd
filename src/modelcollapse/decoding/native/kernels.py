"""The loops that torch has no fast operator for, compiled: attention over scattered slots, and the search of logits.

Numbers are float32; keys, values and queries may also be bfloat16, which NumPy lacks: they come as the int16 of the
same bits. Letters in shapes: P prompts, K beams, H heads, G key-value heads, S slots, D head size, R rows.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from modelcollapse.compiled import compiled, exactly_compiled, intrinsic, types

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Numbers = NDArray[np.float32] | NDArray[np.int16]

LANES = 64
"""Numbers that are compared side by side."""
BLOCK = 32
"""Logits whose maximum is compared with the best so far before any of them is."""
_MINUS_INFINITY = np.float32(-np.inf)
_SMALLEST_EXPONENT = np.float32(-87.0)
_LOG2_E = np.float32(1 / math.log(2))
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
"""Their sum is ln 2; the first has few enough digits that its products with small integers are exact."""
_ROUNDER = np.float32(1.5 * 2.0**23)
"""Added to a number it leaves the nearest integer in the low bits."""
_E = tuple(np.float32(1 / math.factorial(power)) for power in range(8))
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


def _widen(context: Any, number: Any) -> Any:
    """The float32 that a float32 is, or that an int16 holds the upper half of."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if signature.args[0] == types.float32:
            return arguments[0]
        widened = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(widened, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(number), generate


def _multiply_by_power(context: Any, number: Any, rounded: Any) -> Any:
    """A float32 times 2^n, where n is in the lowest bits of another float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits, power = (builder.bitcast(argument, ir.IntType(32)) for argument in arguments)
        scaled = builder.add(bits, builder.shl(power, ir.Constant(ir.IntType(32), 23)))
        return builder.bitcast(scaled, ir.FloatType())

    return types.float32(types.float32, types.float32), generate


_single: Any = intrinsic(_widen)
_times_power: Any = intrinsic(_multiply_by_power)


@exactly_compiled
def exponential(exponent: np.float32) -> np.float32:
    """e^x of x <= 0 to two units in the last place, without a branch: loops over it use vector instructions.

    Exponents below -87 give e^-87. x is n ln 2 + r with |r| <= 0.35, and e^r Taylor's polynomial.
    """
    x: np.float32 = max(exponent, _SMALLEST_EXPONENT)
    rounded = x * _LOG2_E + _ROUNDER
    n = rounded - _ROUNDER
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    series = (((((_E[7] * r + _E[6]) * r + _E[5]) * r + _E[4]) * r + _E[3]) * r + _E[2]) * r + _E[1]
    return _times_power(series * r + _ONE, rounded)


@compiled
def attend(
    queries: Numbers,
    keys: Numbers,
    values: Numbers,
    all_keys: Numbers,
    all_values: Numbers,
    slots: Integers,
    visible: NDArray[np.bool_],
    attended: Floats,
) -> None:
    """Store the newest keys and values, and write to ``attended`` [P, K, H, D] what each beam makes of what it sees.

    Queries [P, K, H, D], scaled; newest keys and values [P, K, G, D] for ``slots`` [P, K] of all [P, G, S, D]; whether
    a beam sees a slot [P, K, slots], of the first ones.
    """
    prompts, beams, heads, size = queries.shape
    shared = keys.shape[2]
    own, averages = np.empty((beams, size), np.float32), np.empty((beams, size), np.float32)
    weights = np.empty((beams, visible.shape[2]), np.float32)
    for p in range(prompts):
        for g in range(shared):
            for k in range(beams):
                all_keys[p, g, slots[p, k]] = keys[p, k, g]
                all_values[p, g, slots[p, k]] = values[p, k, g]
        for h in range(heads):
            g = h * shared // heads
            for k in range(beams):
                for d in range(size):
                    own[k, d] = _single(queries[p, k, h, d])
            _multiply(own, all_keys[p, g], visible[p], weights)
            for k in range(beams):
                _normalise_weights(weights[k])
            _average(weights, all_values[p, g], visible[p], averages)
            attended[p, :, h] = averages


@compiled
def _multiply(queries: Floats, keys: Numbers, visible: NDArray[np.bool_], products: Floats) -> None:
    """Products [K, slots] of queries [K, D] with the keys [S, D] that they see; minus infinity for the others."""
    beams, size = queries.shape
    for n in range(products.shape[1]):
        for k in range(beams):
            product = _MINUS_INFINITY
            if visible[k, n]:
                product = _ZERO
                for d in range(size):
                    product += queries[k, d] * _single(keys[n, d])
            products[k, n] = product


@compiled
def _normalise_weights(weights: Floats) -> None:
    """Turn products into their softmax; what is not seen is left close to 0."""
    largest, total = _maximum(weights), _ZERO
    for n in range(len(weights)):
        weights[n] = exponential(weights[n] - largest)
        total += weights[n]
    scale = _ONE / total
    for n in range(len(weights)):
        weights[n] *= scale


@compiled
def _average(weights: Floats, values: Numbers, visible: NDArray[np.bool_], averages: Floats) -> None:
    """Averages [K, D] of the values [S, D] that are seen, weighted by [K, slots]."""
    beams, size = averages.shape
    averages[:] = _ZERO
    for n in range(weights.shape[1]):
        for k in range(beams):
            if visible[k, n]:
                weight = weights[k, n]
                for d in range(size):
                    averages[k, d] += weight * _single(values[n, d])


@compiled
def search(
    logits: Floats,
    start: int,
    forbidden: Integers,
    seen: Integers,
    seen_logits: Floats,
    largest: Floats,
    totals: Floats,
    best: Floats,
    tokens: Integers,
) -> None:
    """Bring what is known of each row up to date with the logits [R, width] of the tokens from ``start`` on.

    The last column is no token's and holds minus infinity. The logarithm of the sum of all exponentials is
    ``largest`` [R] + ln ``totals`` [R]. ``best`` and ``tokens`` [R, count]: the largest logits, largest first, of
    tokens that are neither ``forbidden`` nor in the row's ``seen`` [R, length]; the logits of these go to
    ``seen_logits`` [R, length], where they occur first.
    """
    rows, width = logits.shape
    for r in range(rows):
        row = logits[r]
        _normalise(row, r, largest, totals)
        for token in forbidden:
            if start <= token < start + width - 1:
                row[token - start] = _MINUS_INFINITY
        for n in range(seen.shape[1]):
            place = seen[r, n] - start
            if 0 <= place < width - 1:
                seen_logits[r, n] = row[place]
                row[place] = _MINUS_INFINITY
        _keep_best(row, start, best[r], tokens[r])


@compiled
def _normalise(row: Floats, r: int, largest: Floats, totals: Floats) -> None:
    highest = max(largest[r], _maximum(row))
    total = _ZERO
    for n in range(len(row)):
        total += exponential(row[n] - highest)
    if totals[r] > 0:
        total += totals[r] * exponential(largest[r] - highest)
    largest[r], totals[r] = highest, total


@compiled
def _maximum(numbers: Floats) -> np.float32:
    """The largest number, by many maxima side by side: vector instructions then."""
    lanes = np.full(LANES, _MINUS_INFINITY)
    whole = len(numbers) // LANES * LANES
    for first in range(0, whole, LANES):
        for n in range(LANES):
            lanes[n] = max(lanes[n], numbers[first + n])
    largest = _MINUS_INFINITY
    for n in range(LANES):
        largest = max(largest, lanes[n])
    for n in range(whole, len(numbers)):
        largest = max(largest, numbers[n])
    return largest


@compiled
def _keep_best(row: Floats, start: int, best: Floats, tokens: Integers) -> None:
    count = len(best)
    for first in range(0, len(row), BLOCK):
        block = row[first : first + BLOCK]
        better = 0
        for n in range(len(block)):
            better += block[n] > best[count - 1]
        if better == 0:
            continue
        for n in range(len(block)):
            if block[n] > best[count - 1]:
                place = count - 1
                while place > 0 and best[place - 1] < block[n]:
                    best[place], tokens[place] = best[place - 1], tokens[place - 1]
                    place -= 1
                best[place], tokens[place] = block[n], start + first + n
