"""Presentation of Gaussian mixtures in the report of a sweep."""

from modelcollapse.families.presentation import POSITIVE, SHARE, CurveFigure, Distribution, Panel, Presentation, Symptom

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
                Panel("tail_mass_95/mean", "mass outside the true 95 % region"),
                Panel("tail_mass_99/mean", "mass outside the true 99 % region"),
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
    symptoms=(
        Symptom("risk", "kl_from_first/mean", falls=False),
        Symptom("diversity", "variance/median"),
        Symptom("tails", "tail_mass_99/mean"),
        Symptom("similarity", "squared_l2_to_first/mean", falls=False),
        Symptom("modes", "collapsed_components/mean", falls=False),
    ),
    replicates=True,
    possible={
        **dict.fromkeys(("squared_l2_to_first", "wasserstein_lower_bound", "wasserstein_upper_bound"), POSITIVE),
        **dict.fromkeys(("mean_error", "variance", "determinant", "iterations", "collapsed_components"), POSITIVE),
        **dict.fromkeys(("tail_mass_95", "tail_mass_99", "converged"), SHARE),
    },
)
"""Distances to the first mixture, what is left of its tails, and samples."""
