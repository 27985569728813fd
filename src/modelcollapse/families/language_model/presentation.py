"""Presentation of language-model chains in the report of a sweep: headline, panels, distributions."""

from modelcollapse.families.presentation import CurveFigure, Distribution, Panel, PooledFigure, Presentation, Symptom

_FIGURES = "modelcollapse.families.language_model.figures"

PRESENTATION = Presentation(
    headline=(
        ("test/perplexity", "perplexity (real test)"),
        ("synthetic/reference_perplexity/median", "reference perplexity (median)"),
        ("synthetic/distinct_2", "distinct-2"),
        ("synthetic/vocabulary_kept", "vocabulary kept"),
    ),
    figures=(
        CurveFigure(
            "perplexity_by_generation",
            (
                Panel("test/perplexity", "perplexity on real text (test)", log="wide"),
                Panel(
                    "synthetic/reference_perplexity/median",
                    "reference perplexity of\nsynthetic text, median",
                    log="wide",
                ),
            ),
        ),
        CurveFigure(
            "diversity_by_generation",
            (
                Panel("synthetic/distinct_2", "distinct bigrams"),
                Panel("synthetic/vocabulary_kept", "vocabulary kept"),
                Panel("synthetic/unigram_entropy", "unigram entropy (nats)"),
                Panel("synthetic/repetition_rate", "repeated trigrams"),
                Panel("synthetic/reference_perplexity/below_real_p01", "share below\n1st percentile of real"),
                Panel("synthetic/reference_perplexity/above_real_p99", "share above\n99th percentile of real"),
            ),
        ),
    ),
    symptoms=(
        Symptom("risk", "test/perplexity", falls=False),
        Symptom("diversity", "synthetic/distinct_2"),
        Symptom("diversity", "synthetic/unigram_entropy"),
        Symptom("tails", "synthetic/vocabulary_kept"),
        Symptom("similarity", "true/kl", falls=False),
        Symptom("similarity", "synthetic/bigram_kl", falls=False),
        Symptom("hallucination", "synthetic/reference_perplexity/above_real_p99", falls=False),
    ),
    pooled=(
        PooledFigure(
            "reference_perplexity_histograms",
            "perplexities",
            f"{_FIGURES}:reference_perplexity_histograms",
            "sequences",
        ),
        PooledFigure(
            "reference_perplexity_histograms_3d",
            "perplexities",
            f"{_FIGURES}:reference_perplexity_histograms_3d",
            "sequences",
        ),
    ),
    distributions=(
        Distribution(
            "synthetic/reference_loss",
            "perplexity of a synthetic sequence under the reference model",
            real="real/validation_loss",
            of_logarithms=True,
        ),
        Distribution(
            "synthetic/true_loss",
            "perplexity of a synthetic sequence under the true distribution",
            of_logarithms=True,
        ),
        Distribution(
            "real/test_loss",
            "perplexity of a real test sequence under the generation's model",
            real="real/test_loss",
            of_logarithms=True,
        ),
    ),
)
"""Perplexity, diversity, and distributions of per-sequence perplexity, as Shumailov et al. 2024 show them."""
