"""First-order theory of logistic regression that is fitted to its own labels.

To first order in 1 / M a fit to M rows adds to the weights an error of covariance I^-1 / M, with Fisher's information
I = E[sigmoid'(x · w*) x x^T]. For x ~ N(0, I) and s = |w*| it has the eigenvalue c = E[sigmoid'(s z) z^2] along w* and
a = E[sigmoid'(s z)] across, so tr I^-1 = (d - 1) / a + 1 / c.
"""

import numpy as np

from modelcollapse.data.labelled_samples import LogisticSamplesSettings
from modelcollapse.families.estimators.theory import Columns, Plan
from modelcollapse.families.logistic_regression.quadrature import expected_slope
from modelcollapse.families.logistic_regression.settings import LogisticRegressionSettings


def inverse_information_trace(signal: float, dimension: int) -> float:
    """tr I^-1 at true weights of norm ``signal``, per row."""
    return (dimension - 1) / expected_slope(signal) + 1 / expected_slope(signal, power=2)


def logistic_regression_expectations(
    plan: Plan, model: LogisticRegressionSettings, data: LogisticSamplesSettings
) -> Columns:
    """E[|w - w*|^2] to first order in 1 / M, without ridge and flips, where the regime replaces or accumulates, or NaN.

    Replace: sum tr I^-1 / M_i. Accumulate: tr I^-1 / M sum 1 / i^2, at most pi^2 / 6 times the first fit's (Dey and
    Donoho 2024).
    """
    unknown = np.full(plan.generations + 1, np.nan)
    columns = dict.fromkeys(("squared_error", "squared_norm", "disagreement", "kl_from_true"), unknown)
    sizes, trace = plan.sizes(), inverse_information_trace(data.signal, data.dimension)
    if model.ridge > 0 or model.flipped > 0 or (sizes is None and not plan.accumulates()):
        return columns
    if sizes is None:
        shares = 1 / (plan.rows * np.arange(1.0, plan.generations + 2) ** 2)
    else:
        shares = 1 / np.asarray(sizes, dtype=np.float64)
    return columns | {"squared_error": trace * np.cumsum(shares)}
