"""How chains of the segmented families are shown beside each other. Their metrics summarise replicates."""

from modelcollapse.models.presentation import CurveFigure, Distribution, JointFigure, Panel, Presentation

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
                Panel("spread_about_true_mean/mean", r"$\mathrm{Var}(X^n)$"),
                Panel("log_determinant/mean", "log determinant of the covariance"),
            ),
            log_generations=True,
        ),
    ),
    joint=(JointFigure("one_shot_errors", "gaussian", "modelcollapse.figures.gaussian:one_shot_errors", "data.rows"),),
    distributions=(
        Distribution("mean_error", "|mu - mu_hat| of a replicate"),
        Distribution("standard_deviation_error", "|sigma - sigma_hat| of a replicate"),
        Distribution("variance", "estimated variance of a replicate"),
    ),
    theory="gaussian",
    replicates=True,
)
"""Errors of mean and standard deviation, risk and variance, beside their closed forms."""

GAUSSIAN_MIXTURE = Presentation(
    headline=(
        ("squared_l2_to_first/mean", "L2 squared to first"),
        ("kl_from_first/mean", "KL from first"),
        ("variance/median", "variance (median)"),
        ("tail_mass_99/mean", "mass outside 99 %"),
    ),
    figures=(
        CurveFigure(
            "distances_by_generation",
            (
                Panel("squared_l2_to_first/mean", r"$\int (p_0 - p_n)^2$", log=True, since=1),
                Panel("kl_from_first/mean", r"KL$(p_0 \,\|\, p_n)$, nats", log=True, since=1),
                Panel("wasserstein_upper_bound/mean", r"MW$_2(p_0, p_n)$", log=True, since=1),
            ),
            log_generations=True,
        ),
        CurveFigure(
            "tails_by_generation",
            (
                Panel("tail_mass_95/mean", "mass outside the first's 95 % region"),
                Panel("tail_mass_99/mean", "mass outside the first's 99 % region"),
                Panel("variance/mean", "variance", log=True),
            ),
            log_generations=True,
        ),
    ),
    distributions=(
        Distribution("squared_l2_to_first", "squared L2 distance of a replicate to its first mixture"),
        Distribution("variance", "variance of a replicate"),
    ),
    pictures=(
        ("samples_by_generation", "Samples of one replicate"),
        ("components_over_generations", "Components of one replicate"),
    ),
    replicates=True,
)
"""Distances to the first mixture, what is left of its tails, and samples."""

DISCRETE = Presentation(
    headline=(
        ("survivors/mean", "states left"),
        ("entropy/mean", "entropy (nats)"),
        ("heterozygosity/mean", "heterozygosity"),
        ("single/mean", "replicates with one state"),
    ),
    figures=(
        CurveFigure(
            "loss_of_states",
            (
                Panel("survivors/mean", "states left", log=True),
                Panel("entropy/mean", "entropy (nats)"),
                Panel("heterozygosity/mean", "heterozygosity", log=True),
                Panel("single/mean", "share of replicates with one state"),
            ),
            log_generations=True,
        ),
    ),
    distributions=(
        Distribution("survivors", "states left in a replicate"),
        Distribution("entropy", "entropy of a replicate (nats)"),
    ),
    theory="discrete",
    replicates=True,
)
"""Loss of states beside its closed forms."""
