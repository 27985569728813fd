"""Closed forms of least squares that is fitted to its own labels, and which of them hold for which chain.

Features x ~ N(0, I) in d dimensions, noise of variance s^2, ridgeless fits to M_1, M_2, ... rows; w_n is what fit
number n gives, w_0 = w* the truth. Each adds noise of its own: with X_n the features of the fit, w_n - w_{n-1} =
X_n^+ e_n, and E[tr (X^T X)^-1] = d / (M - d - 1) for M > d + 1 (inverse Wishart).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from modelcollapse.data.labelled_samples import LinearSamplesSettings
from modelcollapse.families.estimators.theory import Columns, Floats, Plan
from modelcollapse.families.linear_regression.settings import LinearRegressionSettings


def noise_of_fit(rows: ArrayLike, dimension: int, noise: float) -> Floats:
    """E[|X^+ e|^2] of one fit: s^2 d / (M - d - 1) for M > d + 1, s^2 M / (d - M - 1) for M < d - 1, else infinite."""
    sizes = np.asarray(rows, dtype=np.float64)
    with np.errstate(divide="ignore"):
        found = np.minimum(sizes, dimension) / np.maximum(np.abs(sizes - dimension) - 1, 0)
    return np.asarray(noise**2 * found)


def replaced_error(sizes: ArrayLike, dimension: int, noise: float) -> Floats:
    """E[|w_n - w*|^2] where every fit sees nothing but labels of the one before: sum s^2 d / (M_i - d - 1).

    For equal sizes n s^2 d / (M - d - 1) (Gerstgrasser et al. 2024, theorem 1), whether features are the same or fresh.
    """
    return np.cumsum(noise_of_fit(sizes, dimension, noise))


def accumulated_error(rows: int, dimension: int, noise: float, fits: int, *, are_fresh: bool) -> Floats:
    """E[|w_n - w*|^2] where fit n sees all n sets so far, M rows each; exact.

    With A_n = sum X_i^T X_i over the n sets, w_n = w_{n-1} + A_n^-1 X_n^T e_n. Where all sets have the same features
    A_n = n X^T X, and a fit adds s^2 d / (M - d - 1) / n^2 (theorem 2: at most pi^2 / 6 times the first). Where they
    are fresh it adds s^2 E[tr A_n^-1 X_n^T X_n A_n^-1] = s^2 E[tr A_n^-1] / n, since all n sets are alike, which is
    s^2 d / (n (n M - d - 1)).
    """
    number = np.arange(1, fits + 1)
    if are_fresh:
        return np.cumsum(noise_of_fit(number * rows, dimension, noise) / number)
    return np.cumsum(noise_of_fit(rows, dimension, noise) / number**2)


def edited_error(features: Floats, edited: Sequence[int], noise: float) -> Floats:
    """E[|w_n - w*|^2] given the features [rows, d] of a chain whose labels are edited, [fits]; exact.

    Before fit n + 1, ``edited``[n - 1] of the labels, drawn at random, become those of the model: y_{n+1} = M (X w_n +
    e_{n+1}) + (1 - M) y_n. With Q = I - X X^+ the covariance C of y - X w* becomes that of (I - M Q) (y - X w*) + M e,
    averaged over M, and an error is tr X^+ C X^+^T. For M = I it grows by s^2 tr (X^T X)^-1 a fit, as under replace.
    """
    rows = len(features)
    inverse = np.linalg.pinv(features)
    off = np.eye(rows) - features @ inverse
    covariance = noise**2 * np.eye(rows)
    errors = [np.trace(inverse @ covariance @ inverse.T)]
    for count in edited:
        one, both = count / rows, count * (count - 1) / (rows * (rows - 1))
        half, twice = off @ covariance, off @ covariance @ off
        # Of E[M Z M] an entry off the diagonal is kept where both rows are edited, one on it where that row is.
        covariance = covariance - one * (half + half.T) + both * twice + (one - both) * np.diag(np.diag(twice))
        covariance += one * noise**2 * np.eye(rows)
        errors.append(np.trace(inverse @ covariance @ inverse.T))
    return np.array(errors)


def underdetermined_moments(
    sizes: ArrayLike, dimension: int, noise: float, signal: float, *, are_fresh: bool
) -> tuple[Floats, Floats]:
    """E[|w_n|^2] and E[w_n · w*] for fits to M_i < d - 1 rows of labels of the one before; exact.

    A fit projects the weights before it on the span of its features, which keeps M / d of any square on average, and
    adds s^2 M / (d - M - 1). Features that are the same again project only once.
    """
    rows = np.asarray(sizes, dtype=np.float64)
    added = noise_of_fit(rows, dimension, noise)
    kept = rows / dimension if are_fresh else np.where(np.arange(len(rows)) == 0, rows / dimension, 1.0)
    squares, products = [], []
    square = product = signal**2
    for share, more in zip(kept, added, strict=True):
        square, product = share * square + more, share * product
        squares.append(square)
        products.append(product)
    return np.array(squares), np.array(products)


def linear_regression_expectations(plan: Plan, model: LinearRegressionSettings, data: LinearSamplesSettings) -> Columns:
    """Expected measures of a ridgeless chain whose regime replaces or accumulates; NaN for others."""
    unknown = np.full(plan.generations + 1, np.nan)
    columns = dict.fromkeys(("test_error", "squared_norm", "squared_drift"), unknown)
    if model.ridge > 0:
        return columns
    signal, sizes, are_fresh = data.signal**2, plan.sizes(), model.features == "fresh"
    if sizes is not None and max(sizes) < data.dimension - 1 and (are_fresh or len(set(sizes)) == 1):
        squares, products = underdetermined_moments(sizes, data.dimension, data.noise, data.signal, are_fresh=are_fresh)
        return columns | {"test_error": squares - 2 * products + signal, "squared_norm": squares}
    if sizes is not None and min(sizes) > data.dimension + 1:
        error = replaced_error(sizes, data.dimension, data.noise)
    elif plan.accumulates() and plan.rows > data.dimension + 1:
        fits = plan.generations + 1
        error = accumulated_error(plan.rows, data.dimension, data.noise, fits, are_fresh=are_fresh)
    else:
        return columns
    # Every fit is unbiased, and its noise is independent of what came before.
    return {"test_error": error, "squared_norm": signal + error, "squared_drift": error - error[0]}
