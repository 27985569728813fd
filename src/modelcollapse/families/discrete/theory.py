"""Closed forms of resampling a categorical distribution, and which of them hold for which chain."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from modelcollapse.data.settings import CategoricalSamplesSettings
from modelcollapse.families.estimators.theory import Columns, Floats, Plan
from modelcollapse.populations.settings import NO_POPULATION, PopulationSettings

ABSORPTION_ROWS = 1000
"""Most rows for which the absorption time is solved for: it costs their third power."""


def heterozygosity(probabilities: ArrayLike, sizes: ArrayLike) -> Floats:
    """E[1 - sum p^2] after each fit: (1 - sum q^2) prod (1 - 1/M_i), exact."""
    first = 1 - np.square(np.asarray(probabilities, dtype=np.float64)).sum()
    return np.asarray(first * np.cumprod(1 - 1 / np.asarray(sizes, dtype=np.float64)))


def population_identity(
    probabilities: ArrayLike, population: PopulationSettings, rows: int, fits: int
) -> tuple[Floats, Floats]:
    """E[sum p_i^2] of a member and E[sum p_i q_i] of two members p, q of a population under `replace`, after each fit.

    These are the probabilities F that two draws of a member, and G that one draw of each of two members, agree. Each of
    the m members is fitted to k = ``rows`` rows, and two draws of it repeat one row with probability 1/k. Else they are
    two rows of one writer, or under `union` two of the mk that were written, of one writer with probability
    (k - 1)/(mk - 1). A fit makes of F and G

        own, other: F' = 1/k + (1 - 1/k) F,  G' = G
        random:     F' as that,              G' = F'/m + (1 - 1/m) G
        union:      F' = 1/k + (1 - 1/k) P,  G' = 1/(mk) + (1 - 1/(mk)) P,  P = ((k - 1) F + (m - 1) k G)/(mk - 1)

    exactly. At first F = 1/k + (1 - 1/k) J with J = sum q^2 of the true law, and G is J where real rows are split, F
    where they are shared.
    """
    members, true = population.models, np.square(np.asarray(probabilities, dtype=np.float64)).sum()
    own = 1 / rows + (1 - 1 / rows) * true
    across = true if population.data == "split" else own
    found = [(own, across)]
    for _ in range(fits - 1):
        if population.diet == "union":
            written = members * rows
            pair = ((rows - 1) * own + (members - 1) * rows * across) / (written - 1)
            own, across = 1 / rows + (1 - 1 / rows) * pair, 1 / written + (1 - 1 / written) * pair
        else:
            own = 1 / rows + (1 - 1 / rows) * own
            across = own / members + (1 - 1 / members) * across if population.diet == "random" else across
        found.append((own, across))
    of_members, of_pairs = np.array(found).T
    return of_members, of_pairs


def end_probabilities(probabilities: ArrayLike) -> Floats:
    """P(all ends in state i) = q_i: the expected frequency of a state never changes, [K]."""
    return np.asarray(probabilities, dtype=np.float64)


def absorption_time(probabilities: ArrayLike, rows: int) -> float:
    """Expected number of the fit after which one state is left, the fit to real data counted as the first.

    Exact up to ABSORPTION_ROWS rows, from there on ``diffusion_absorption_time``. The time is the sum over n >= 0 of
    the probability that several states are left after n fits, 1 - sum_i P(state i has all M counts). State i against
    all others is a Wright-Fisher chain that ends with all counts with probability q_i, from count j with h_j = j / M;
    Q is its step between counts 1 .. M - 1. On paths that end there it is short of all counts once before the first
    fit and from count j on ((I - Q)^-1 h)_j times more.
    """
    true = np.asarray(probabilities, dtype=np.float64)
    if rows > ABSORPTION_ROWS:
        return diffusion_absorption_time(true, rows)
    from scipy.stats import binom

    inner = np.arange(1, rows)
    step = binom.pmf(inner, rows, inner[:, None] / rows)
    left = np.linalg.solve(np.eye(rows - 1) - step, inner / rows)
    return float((true + binom.pmf(inner, rows, true[:, None]) @ left).sum())


def diffusion_absorption_time(probabilities: ArrayLike, rows: int) -> float:
    """The limit of ``absorption_time`` for many rows: -2 M sum (1 - q) log(1 - q) (Ewens).

    Too high where rows are few: by 13 % for M = 10, by 2 % for M = 100.
    """
    others = 1 - np.asarray(probabilities, dtype=np.float64)
    return float(-2 * rows * np.sum(others * np.log(others)))


def resampled_marginals(probabilities: ArrayLike, rows: int, fits: int) -> Iterator[Floats]:
    """P(state i has count j after n fits of M draws each), [K, M + 1], for n = 1, 2, ..., ``fits``; exact.

    One state against all others is a Wright-Fisher chain: Binomial(M, j / M) draws from count j. Costs K M^2 a fit.
    """
    from scipy.stats import binom

    counts = np.arange(rows + 1)
    marginals = binom.pmf(counts, rows, np.asarray(probabilities, dtype=np.float64)[:, None])
    step = binom.pmf(counts, rows, counts[:, None] / rows)
    for _ in range(fits):
        yield marginals
        marginals = marginals @ step


def expected_survivors(marginals: Floats) -> float:
    """E[states left]: the sum of P(count > 0); after one fit sum 1 - (1 - q_i)^M."""
    return float((1 - marginals[:, 0]).sum())


def expected_entropy(marginals: Floats) -> float:
    """E[- sum p log p], in nats."""
    from scipy.special import entr

    frequencies = np.linspace(0, 1, marginals.shape[1])
    return float((marginals @ entr(frequencies)).sum())


def absorbed_share(marginals: Floats) -> float:
    """P(one state is left): the sum of P(count = M), since no two states can have it."""
    return float(marginals[:, -1].sum())


MARGINALS_ROWS = 300
"""Most rows for which exact marginals of a discrete chain are worked out: they cost rows^2 a state and generation."""


def discrete_expectations(
    plan: Plan, data: CategoricalSamplesSettings, population: PopulationSettings = NO_POPULATION
) -> Columns:
    """Expected measures of a discrete chain; of a population the mean over its members."""
    columns = dict.fromkeys(
        ("survivors", "entropy", "heterozygosity", "single", "total_variation"), np.full(plan.generations + 1, np.nan)
    )
    sizes, true = plan.sizes(), data.probabilities
    if sizes is None:
        return columns
    if population.is_active and population.diet != "own":
        # Of its members' frequencies only the second moments are known.
        if set(sizes) == {plan.rows}:
            columns["heterozygosity"] = 1 - population_identity(true, population, plan.rows, len(sizes))[0]
        return columns
    columns["heterozygosity"] = heterozygosity(true, sizes)
    if set(sizes) == {plan.rows} and plan.rows <= MARGINALS_ROWS:
        marginals = resampled_marginals(true, plan.rows, len(sizes))
        expected = (expected_survivors, expected_entropy, absorbed_share)
        values = np.array([[of(item) for of in expected] for item in marginals])
        columns |= dict(zip(("survivors", "entropy", "single"), values.T, strict=True))
    return columns
