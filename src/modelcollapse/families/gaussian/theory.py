"""Closed forms of model collapse, to lay over what is measured.

Sizes M_1, M_2, ... are the rows of each fit: fit number n is that of generation n - 1, and X^n, a sample after n
fits, is what generation n - 1 writes. With sigma the true standard deviation and z ~ N(0, 1),

    mu_n = mu_{n-1} + sigma_{n-1} z / sqrt(M_n),    sigma_n = sigma_{n-1} s_n

where s_n is the sample standard deviation of M_n standard normal draws, independent of z; the biased estimator
divides the scatter by M, the unbiased one by M - 1. Everything for one Gaussian is in units of sigma. Arrays have one
entry a fit.
"""

from math import exp, lgamma, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from modelcollapse.data.settings import GaussianSamplesSettings
from modelcollapse.families.estimators.theory import Columns, Floats, Plan
from modelcollapse.families.gaussian.settings import GaussianSettings
from modelcollapse.populations.settings import NO_POPULATION, PopulationSettings

EstimatorName = Literal["biased", "unbiased"]

ACCUMULATION_LIMIT = float(np.pi**2 / 6)
"""sum of 1/k^2: bound of the mean's error under accumulation, in units of sigma^2 / M (Gerstgrasser et al. 2024)."""

MANY_ROWS = 1000
"""From here on c4 is taken from its series: its Gamma functions are so large that the difference of 1 - c4 drowns."""


def c4(rows: float) -> float:
    """E[s] / sigma of the unbiased sample variance s^2 of M normal draws: sqrt(2/(M-1)) Gamma(M/2) / Gamma((M-1)/2)."""
    if rows > MANY_ROWS:
        return 1 - 1 / (4 * rows) - 7 / (32 * rows**2) - 19 / (128 * rows**3)
    return sqrt(2 / (rows - 1)) * exp(lgamma(rows / 2) - lgamma((rows - 1) / 2))


def variance_kept(sizes: ArrayLike, estimator: EstimatorName) -> Floats:
    """E[sigma_n^2]: 1 for the unbiased estimator, prod (1 - 1/M_i) for the biased one."""
    rows = np.asarray(sizes, dtype=np.float64)
    return np.cumprod(np.ones_like(rows) if estimator == "unbiased" else 1 - 1 / rows, dtype=np.float64)


def deviation_kept(sizes: ArrayLike, estimator: EstimatorName) -> Floats:
    """E[sigma_n]: prod c4(M_i), times sqrt(1 - 1/M_i) each for the biased estimator."""
    rows = np.asarray(sizes, dtype=np.float64)
    kept = np.array([c4(size) for size in rows])
    return np.cumprod(kept if estimator == "unbiased" else kept * np.sqrt(1 - 1 / rows))


def log_determinant_change(sizes: ArrayLike, estimator: EstimatorName, dimension: int = 1) -> Floats:
    """E[log det Sigma_n - log det Sigma], exact: about -d (d + 1) / (2 M) a fit, so every chain collapses.

    The scatter's determinant is that of Sigma times a product of chi-squared variables with M - 1, ..., M - d degrees
    of freedom (Bartlett), and E[log chi^2_k] = digamma(k/2) + log 2.
    """
    from scipy.special import digamma

    rows = np.asarray(sizes, dtype=np.float64)
    degrees = rows[:, None] - np.arange(1, dimension + 1)
    divisor = rows if estimator == "biased" else rows - 1
    return np.cumsum((digamma(degrees / 2) + np.log(2)).sum(axis=1) - dimension * np.log(divisor))


def squared_mean_error(sizes: ArrayLike, estimator: EstimatorName) -> Floats:
    """E[(mu_n - mu)^2] = sum E[sigma_{i-1}^2] / M_i; for equal sizes n/M if unbiased, 1 - (1 - 1/M)^n if biased."""
    rows = np.asarray(sizes, dtype=np.float64)
    before = np.concatenate([[1.0], variance_kept(rows, estimator)[:-1]])
    return np.cumsum(before / rows)


def variance_of_sample(sizes: ArrayLike, estimator: EstimatorName) -> Floats:
    """Var(X^n), over samples and chains: 1 + sum 1/M_i if unbiased (the paper's 1 + n/M); exactly 1 if biased."""
    return variance_kept(sizes, estimator) + squared_mean_error(sizes, estimator)


def squared_wasserstein(sizes: ArrayLike, estimator: EstimatorName) -> Floats:
    """E[W2^2] to the true Gaussian, exact, in one dimension.

    W2^2 = (mu_n - mu)^2 + (sigma_n - sigma)^2, so E[W2^2] = E[(mu_n - mu)^2] + E[sigma_n^2] - 2 E[sigma_n] + 1: for
    equal sizes n/M + 2 - 2 c4^n if unbiased, 2 - 2 (c4 sqrt(1 - 1/M))^n if biased, which stays below 2.
    """
    return variance_of_sample(sizes, estimator) + 1 - 2 * deviation_kept(sizes, estimator)


def squared_wasserstein_first_order(sizes: ArrayLike) -> Floats:
    """3/2 sum 1/M_i: the paper's first order of E[W2^2], the same for both estimators."""
    return 1.5 * np.cumsum(1 / np.asarray(sizes, dtype=np.float64))


def accumulated_moments(rows: int, fits: int, estimator: EstimatorName) -> tuple[Floats, Floats]:
    """E[(mu_n - mu)^2] and E[sigma_n^2] where fit n sees all n sets so far, each of M rows; exact.

    mu_n = mu_{n-1} + (m_n - mu_{n-1}) / n with m_n the mean of the newest set, so its error grows by
    E[sigma_{n-1}^2] / (M n^2). The second moment of the pool about mu is the average of those of its sets.
    """
    error, variance, moments = 0.0, 1.0, 0.0
    errors, variances = [], []
    for fit in range(1, fits + 1):
        moments += variance + error
        error += variance / (rows * fit**2)
        total = rows * fit
        variance = (moments / fit - error) * (1.0 if estimator == "biased" else total / (total - 1))
        errors.append(error)
        variances.append(variance)
    return np.array(errors), np.array(variances)


def general_moments(counts: tuple[int, int, int], fits: int, estimator: EstimatorName) -> tuple[Floats, Floats]:
    """E[(mu_n - mu)^2] and E[sigma_n^2] under the paper's general form, exact.

    ``counts`` are the rows of each training set D_n that are new samples of the last fit, rows of D_{n-1} and rows of
    H; M in all. With x and y any two rows of D_n and h any row of H, about the true mean, the moments E[x^2], E[x y]
    and E[x h] follow from those before: a new sample has the mean and the variance of the last fit. E[x h] stays 1 / M.
    """
    new, kept, real = counts
    rows = new + kept + real
    single, pair, with_real = 1.0, 0.0, 1 / rows
    errors, variances = [], []
    for _ in range(fits):
        error = (single + (rows - 1) * pair) / rows
        variance = (single - pair) * (1 - 1 / rows if estimator == "biased" else 1.0)
        errors.append(error)
        variances.append(variance)
        of_new, of_kept, across = new * (new - 1) + 2 * new * kept, kept * (kept - 1), 2 * real * (new + kept)
        pair = (of_new * error + of_kept * pair + across * with_real) / (rows * (rows - 1))
        single = (new * (error + variance) + kept * single + real) / rows
    return np.array(errors), np.array(variances)


def merged_moments(sizes: ArrayLike, share: float, estimator: EstimatorName) -> tuple[Floats, Floats]:
    """E[(mu_n - mu)^2] and E[sigma_n^2] where every fit after the first is merged with that one; exact.

    With a the share of the first fit, 1 + w for negative extrapolation (Neon, arXiv 2510.03597), and parameters mean
    and variance: mu_n = a mu_1 + (1 - a) (mu_{n-1} + sigma_{n-1} z / sqrt(M_n)), whose covariance with mu_1 is always
    that of mu_1, and sigma_n^2 = a sigma_1^2 + (1 - a) sigma_{n-1}^2 s_n^2. So with b the expected share of a variance
    that a fit keeps, 1 or 1 - 1/M_n,

        e_n = (1 - (1 - a)^2) e_1 + (1 - a)^2 (e_{n-1} + v_{n-1} / M_n),    v_n = a v_1 + (1 - a) b v_{n-1}.
    """
    rows = np.asarray(sizes, dtype=np.float64)
    kept = np.ones_like(rows) if estimator == "unbiased" else 1 - 1 / rows
    errors, variances = [1 / rows[0]], [kept[0]]
    for size, factor in zip(rows[1:], kept[1:], strict=True):
        error = (1 - (1 - share) ** 2) * errors[0] + (1 - share) ** 2 * (errors[-1] + variances[-1] / size)
        variance = share * variances[0] + (1 - share) * factor * variances[-1]
        errors.append(error)
        variances.append(variance)
    return np.array(errors), np.array(variances)


def merged_variance_squares(sizes: ArrayLike, share: float, estimator: EstimatorName) -> Floats:
    """E[sigma_n^4] under the recursion of :func:`merged_moments`, in one dimension; exact.

    A fit multiplies the variance before it by b q with E[q] = 1 and E[q^2] = 1 + 2 / (M_n - 1), independent of it; so
    c_n = E[sigma_1^2 sigma_n^2] = a c_1 + (1 - a) b c_{n-1} and E[sigma_n^4] = a^2 c_1 + 2 a (1 - a) b c_{n-1} +
    (1 - a)^2 b^2 E[q^2] E[sigma_{n-1}^4].
    """
    rows = np.asarray(sizes, dtype=np.float64)
    kept = np.ones_like(rows) if estimator == "unbiased" else 1 - 1 / rows
    spread = 1 + 2 / (rows - 1)
    squares, product = [kept[0] ** 2 * spread[0]], kept[0] ** 2 * spread[0]
    for factor, of_sample in zip(kept[1:], spread[1:], strict=True):
        fitted = (1 - share) * factor
        squares.append(share**2 * squares[0] + 2 * share * fitted * product + fitted**2 * of_sample * squares[-1])
        product = share * squares[0] + fitted * product
    return np.array(squares)


def population_moments(
    population: PopulationSettings, rows: int, fits: int, estimator: EstimatorName
) -> tuple[Floats, Floats, Floats]:
    """E[(mu_n - mu)^2], E[sigma_n^2] and E[(mu_n^i - mu)(mu_n^j - mu)] of members i, j of a population under `replace`.

    Each of the m members is fitted to k = ``rows`` rows, at first real ones, later of its diet. With V, A and C the
    three moments, C of different members, and b = 1, or 1 - 1/k for the biased estimator, a fit makes of them

        own, other: V' = b V,  A' = A + V/k,  C' = C
        random:     V' = b V,  A' = A + V/k,  C' = A'/m + (1 - 1/m) C
        union:      V' = b (V + k (m - 1) / (mk - 1) (A - C))
                    A' = (A + V) / k + (1 - 1/k) ((k - 1) A + (mk - k) C) / (mk - 1)
                    C' = (A + V / k) / m + (1 - 1/m) C

    exactly: two members with one random writer are fitted to the same rows, and rows that are drawn without replacement
    from a finite set have its mean and, divided by one less, its variance. At first A = 1/k, and C is 0 where real rows
    are split, and A where they are shared.
    """
    members, kept = population.models, 1.0 if estimator == "unbiased" else 1 - 1 / rows
    variance, error = kept, 1 / rows
    together = 0.0 if population.data == "split" else error
    moments = [(error, variance, together)]
    for _ in range(fits - 1):
        fitted = error + variance / rows
        if population.diet == "union":
            others = (rows - 1) * error + (members - 1) * rows * together
            between = rows * (members - 1) / (members * rows - 1) * (error - together)
            pair = others / (members * rows - 1)
            together = fitted / members + (1 - 1 / members) * together
            error, variance = (error + variance) / rows + (1 - 1 / rows) * pair, kept * (variance + between)
        else:
            if population.diet == "random":
                together = fitted / members + (1 - 1 / members) * together
            error, variance = fitted, kept * variance
        moments.append((error, variance, together))
    errors, variances, products = np.array(moments).T
    return errors, variances, products


def gaussian_expectations(
    plan: Plan,
    model: GaussianSettings,
    data: GaussianSamplesSettings,
    population: PopulationSettings = NO_POPULATION,
) -> Columns:
    """Expected measures of a Gaussian chain, units of the data; distances of covariances in one dimension only.

    Of a population the mean over its members; moments under ``replace`` only.
    """
    trace, dimension = sum(row[i] for i, row in enumerate(data.covariance)), len(data.mean)
    unknown = np.full(plan.generations + 1, np.nan)
    names = ("squared_mean_error", "variance", "spread_about_true_mean", "log_determinant", "squared_wasserstein")
    columns = dict.fromkeys((*names, "squared_wasserstein_first_order"), unknown)
    sizes = plan.sizes()
    if population.is_active:
        if sizes != [plan.rows] * (plan.generations + 1):
            return columns
        error, variance, _ = population_moments(population, plan.rows, len(sizes), model.estimator)
    elif sizes is not None:
        error, variance = (
            squared_mean_error(sizes, model.estimator),
            variance_kept(sizes, model.estimator),
        )
        change = log_determinant_change(sizes, model.estimator, dimension)
        columns["log_determinant"] = np.linalg.slogdet(np.array(data.covariance))[1] + change
        if dimension == 1:
            columns["squared_wasserstein"] = trace * squared_wasserstein(sizes, model.estimator)
            columns["squared_wasserstein_first_order"] = trace * squared_wasserstein_first_order(sizes)
    elif (merged := plan.merged_sizes()) is not None:
        error, variance = merged_moments(*merged, model.estimator)
    elif (counts := plan.general_counts()) is not None and plan.rows > 1:
        error, variance = general_moments(counts, plan.generations + 1, model.estimator)
    elif plan.accumulates() and dimension == 1:
        error, variance = accumulated_moments(plan.rows, plan.generations + 1, model.estimator)
    else:
        return columns
    moments = {"squared_mean_error": error, "variance": variance, "spread_about_true_mean": error + variance}
    return columns | {name: trace * values for name, values in moments.items()}
