"""Presentation of Gaussians in the report of a sweep."""

from modelcollapse.families.presentation import (
    POSITIVE,
    CurveFigure,
    Distribution,
    JointFigure,
    Panel,
    Presentation,
    Symptom,
)

GAUSSIAN = Presentation(
    headline=(
        ("mean_error/mean", "|mu - mu_hat|"),
        ("standard_deviation_error/mean", "|sigma - sigma_hat|"),
        ("squared_wasserstein/mean", "W2 squared"),
        ("variance/median", "variance (median)"),
    ),
    figures=(
        CurveFigure(
            "estimation_errors",
            (
                Panel("squared_mean_error/mean", r"$|\mu - \hat{\mu}|$, root mean square", log=True, root=True),
                Panel("standard_deviation_error/mean", r"$|\sigma - \hat{\sigma}|$, mean", log=True),
            ),
            log_generations=True,
        ),
        CurveFigure(
            "risk_and_variance",
            (
                Panel("squared_wasserstein/mean", "squared 2-Wasserstein distance", log=True),
                Panel("spread_about_true_mean/mean", r"$\mathrm{Var}(X^n)$", log=True),
                Panel("log_determinant/mean", "log determinant of the covariance"),
            ),
            log_generations=True,
        ),
    ),
    joint=(
        JointFigure(
            "one_shot_errors", "gaussian", "modelcollapse.families.gaussian.figures:one_shot_errors", "data.rows"
        ),
    ),
    distributions=(
        Distribution("mean_error", "|mu - mu_hat| of a replicate"),
        Distribution("standard_deviation_error", "|sigma - sigma_hat| of a replicate"),
        Distribution("variance", "estimated variance of a replicate"),
    ),
    theory="gaussian",
    symptoms=(
        Symptom("risk", "squared_wasserstein/mean", falls=False),
        Symptom("diversity", "variance/median"),
        Symptom("similarity", "kl_from_true/mean", falls=False),
    ),
    replicates=True,
    possible={
        **dict.fromkeys(("mean_error", "squared_mean_error", "standard_deviation_error"), POSITIVE),
        **dict.fromkeys(("squared_wasserstein", "variance", "spread_about_true_mean", "kl_from_true"), POSITIVE),
    },
)
"""Errors of mean and standard deviation, risk and variance, beside their closed forms."""
