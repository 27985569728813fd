"""Presentation of VAE chains in the report of a sweep: headline, panels, images."""

from modelcollapse.families.presentation import CurveFigure, Distribution, Panel, PooledFigure, Presentation, Symptom

PRESENTATION = Presentation(
    headline=(
        ("test/elbo", "ELBO (real test, nats)"),
        ("synthetic/latent_spread", "latent spread"),
        ("synthetic/class_entropy", "class entropy (nats)"),
        ("synthetic/kid", "KID"),
        ("synthetic/recall", "recall"),
    ),
    figures=(
        CurveFigure(
            "latents_by_generation",
            (
                Panel("synthetic/latent_spread", "latent means, std. deviation", real="real/latent_spread"),
                Panel("synthetic/latent_mean", "latent means, mean", real="real/latent_mean"),
            ),
        ),
        CurveFigure(
            "samples_measured_by_generation",
            (
                Panel("synthetic/kid", "KID"),
                Panel("synthetic/class_entropy", "entropy of the classes (nats)"),
                Panel("synthetic/precision", "precision"),
                Panel("synthetic/recall", "recall"),
            ),
        ),
        CurveFigure(
            "elbo_by_generation",
            (
                Panel("test/elbo", "lower bound (nats per image)"),
                Panel("test/reconstruction", "reconstruction loss (nats)"),
                Panel("test/kl", "KL divergence (nats)"),
            ),
        ),
    ),
    symptoms=(
        Symptom("risk", "test/elbo"),
        Symptom("diversity", "synthetic/latent_spread"),
        Symptom("tails", "synthetic/recall"),
        Symptom("similarity", "synthetic/kid", falls=False),
        Symptom("modes", "synthetic/class_entropy"),
        Symptom("hallucination", "synthetic/precision"),
    ),
    pooled=(
        PooledFigure(
            "latent_densities", "latent_means", "modelcollapse.families.vae.figures:latent_densities", "latent means"
        ),
    ),
    distributions=(
        Distribution(
            "synthetic/latent_means",
            "latent mean of a sample under generation 0's encoder",
            real="real/latent_means",
        ),
    ),
    pictures=(("samples_by_generation", "Samples of every generation"),),
)
"""Latent spread, what the samples keep of the real images, and the samples themselves."""
