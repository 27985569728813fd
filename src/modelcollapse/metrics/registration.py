"""The metrics of this package: what each is called, what it needs and what it costs."""

import math
from typing import Any

from modelcollapse.metrics.base import metric_member
from modelcollapse.registry import Member

_LIKELIHOOD, _DIVERSITY, _VOCABULARY, _MEMORISATION, _IMAGES = (
    f"modelcollapse.metrics.{name}" for name in ("likelihood", "diversity", "vocabulary", "memorisation", "images")
)
_SUMMARY = (
    "of the perplexities of single sequences: `mean`, `median`, `p01`, `p05`, `p95`, `p99`, their number `n`, and the"
    " shares `above_real_p99`, `below_real_p01` beyond the 99th and below the 1st percentile of real validation text"
)
_PERPLEXITIES = {"possible": (1.0, math.inf)}
_POSITIVE = {"possible": (0.0, math.inf)}
_SUMMARIES = {
    **_PERPLEXITIES,
    "possible_of": {"n": (0.0, math.inf), "above_real_p99": (0.0, 1.0), "below_real_p01": (0.0, 1.0)},
}
_BY_SIZE = "Falls with the size of the set: compare equal sizes only"


def _synthetic(name: str, function: str, needs: tuple[str, ...], label: str, what: str, **more: Any) -> Member:
    more = {"is_default": True, **more}
    return metric_member(name, function, of="synthetic", needs=needs, label=label, what=what, **more)


def _real(name: str, function: str, needs: tuple[str, ...], label: str, what: str, **more: Any) -> Member:
    more = {"is_default": True, **more}
    return metric_member(name, function, of="real", needs=needs, label=label, what=what, **more)


LANGUAGE_MODELS = (
    _real(
        "perplexity",
        f"{_LIKELIHOOD}:perplexity",
        ("mean_loss",),
        "perplexity",
        "exp of the mean loss over all predicted tokens",
        caveat="With `model.training.checkpoint=best_val` the epoch was chosen on the validation split, which flatters"
        " it; the test split is untouched",
        **_PERPLEXITIES,
    ),
    _real(
        "perplexity_without_line_starts",
        f"{_LIKELIHOOD}:perplexity_without_line_starts",
        ("mean_loss_without_line_starts",),
        "perplexity without line starts",
        "as `perplexity`, without targets that are the start-of-line token, where `data.line_start_token` is true",
        caveat="Synthetic blocks never hold that token, so descendants unlearn it: part of the loss in `perplexity` is"
        " this artefact",
        **_PERPLEXITIES,
    ),
    _real(
        "bits_per_byte",
        f"{_LIKELIHOOD}:bits_per_byte",
        ("mean_loss", "token_bytes"),
        "bits per byte",
        "total loss in bits over the UTF-8 bytes of the predicted tokens; comparable between tokenizers",
        unit="bits / byte",
        version=2,
        caveat="Special tokens cost bits and have no bytes; a word of the built-in language counts with its blank",
        **_POSITIVE,
    ),
    _real(
        "loss_standard_error",
        f"{_LIKELIHOOD}:loss_standard_error",
        ("sequence_losses",),
        "standard error of the loss",
        "standard error of the mean loss, over sequences",
        unit="nats / token",
        caveat="Blocks of one text depend on each other: too small for them",
        is_default=False,
        **_POSITIVE,
    ),
    metric_member(
        "against_truth",
        f"{_LIKELIHOOD}:against_truth",
        of="model",
        needs=("test_loss", "true_test_loss"),
        label="against the truth",
        what="built-in language: `true/perplexity` of the true distribution on the predicted tokens of the test split,"
        " the lowest there is but for chance, and `true/kl`, an unbiased estimate of KL(truth \\|\\| model) of a"
        " predicted token given those before it, in nats",
        caveat="The error of `true/kl` is that of the test sample",
        is_default=True,
        records=("true/perplexity", "true/kl"),
        possible_of={"true/perplexity": (1.0, math.inf)},
    ),
    _synthetic(
        "reference_perplexity",
        f"{_LIKELIHOOD}:reference_perplexity",
        ("reference_losses", "real_reference_losses"),
        "reference perplexity",
        f"{_SUMMARY}, under the reference; each sequence by itself, without its prompt",
        caveat="The mean is governed by the upper tail. Both shares are 0.01 for real text, up to the percentiles'"
        " error",
        **_SUMMARIES,
    ),
    _synthetic(
        "true_perplexity",
        f"{_LIKELIHOOD}:true_perplexity",
        ("true_losses", "real_true_losses"),
        "true perplexity",
        f"{_SUMMARY}, under the true distribution of the built-in language, all L tokens predicted",
        **_SUMMARIES,
    ),
    _synthetic(
        "true_nll",
        f"{_LIKELIHOOD}:true_nll",
        ("true_losses",),
        "true loss",
        "mean loss under the true distribution of the built-in language, all L tokens predicted",
        unit="nats / token",
        **_POSITIVE,
    ),
    _synthetic(
        "rare_word_share",
        f"{_LIKELIHOOD}:rare_word_share",
        ("tokens", "language"),
        "share of rare words",
        "tokens that are among the rarest words of the built-in language, those that together hold at most 0.1 of the"
        " true distribution",
        unit="share",
    ),
    _synthetic(
        "rare_words_kept",
        f"{_LIKELIHOOD}:rare_words_kept",
        ("tokens", "language"),
        "rare words kept",
        "of the rarest words of the built-in language, those that together hold at most 0.1 of the true distribution,"
        " the part that occurs in the set",
        unit="share",
        caveat="Smaller sets miss more by size alone",
        is_default=False,
    ),
    *(
        _synthetic(
            f"distinct_{n}",
            f"{_DIVERSITY}:distinct_{n}",
            ("tokens",),
            f"distinct-{n}",
            f"distinct {n}-grams over all {n}-grams of the set, none across blocks (Li et al. 2016)",
            unit="share",
            caveat=_BY_SIZE,
            is_default=n < 4,
        )
        for n in (1, 2, 3, 4)
    ),
    _synthetic(
        "type_token_ratio",
        f"{_DIVERSITY}:type_token_ratio",
        ("tokens",),
        "type-token ratio",
        "distinct over all tokens within a block, mean over blocks (Johnson 1944)",
        unit="share",
        caveat="Comparable between sets of different size and equal block length",
    ),
    _synthetic(
        "vocabulary_kept",
        f"{_DIVERSITY}:vocabulary_kept",
        ("tokens", "training_tokens"),
        "vocabulary kept",
        "token types of the real training split that occur in the set",
        unit="share",
        caveat="Smaller sets miss more by size alone",
    ),
    _synthetic(
        "unigram_entropy",
        f"{_DIVERSITY}:unigram_entropy",
        ("tokens",),
        "unigram entropy",
        "entropy of the token frequencies with the Miller-Madow correction (Miller 1955)",
        unit="nats",
        caveat="Types never seen stay uncorrected",
        **_POSITIVE,
    ),
    _synthetic(
        "repetition_rate",
        f"{_DIVERSITY}:repeated_trigrams",
        ("tokens",),
        "repeated trigrams",
        "trigrams of a block that occurred before in the same block, mean over blocks",
        unit="share",
        caveat="Comparable between sets of equal block length",
    ),
    _synthetic(
        "effective_vocabulary",
        f"{_VOCABULARY}:effective_vocabulary",
        ("tokens",),
        "effective vocabulary",
        "exp of `unigram_entropy`: types of a uniform distribution of that entropy",
        unit="types",
        caveat="Types never seen stay uncorrected",
        is_default=False,
        possible=(1.0, math.inf),
    ),
    _synthetic(
        "zipf",
        f"{_VOCABULARY}:zipf",
        ("tokens",),
        "Zipf's law",
        "`exponent` s of p(rank) ~ rank^-s, by maximum likelihood from rank 1 to `last_rank`, 1000 or the number of"
        " types (Zipf 1949)",
        caveat="Ranks are those of the same sample, which makes small sets look steeper; text follows the law roughly",
        is_default=False,
        **_POSITIVE,
    ),
    *(
        _synthetic(
            f"{kind}_kl",
            f"{_VOCABULARY}:{kind}_kl",
            ("tokens", "training_tokens"),
            f"KL of {kind}s",
            f"KL(real \\|\\| synthetic) of {kind}s, real those of the training split, half a count added to each that"
            " occurs in either (Krichevsky and Trofimov 1981)",
            unit="nats",
            caveat="Biased upwards, more so in smaller sets: compare equal sizes only",
            is_default=False,
            **_POSITIVE,
        )
        for kind in ("unigram", "bigram")
    ),
    _synthetic(
        "band_kept",
        f"{_VOCABULARY}:bands_kept",
        ("tokens", "training_tokens"),
        "kept by frequency",
        "token types that occur in the set, of those that occur once, `2_to_9`, `10_to_99`, `100_to_999` and `1000_up`"
        " times in the real training split",
        unit="share",
        caveat="Smaller sets miss more by size alone",
        is_default=False,
    ),
    _synthetic(
        "true_decile_kept",
        f"{_VOCABULARY}:true_deciles_kept",
        ("tokens", "language"),
        "kept by true probability",
        "words of the built-in language that occur in the set, of each tenth of the vocabulary by true probability, `1`"
        " the most probable",
        unit="share",
        caveat="Smaller sets miss more by size alone",
        is_default=False,
    ),
    _synthetic(
        "longest_copy",
        f"{_MEMORISATION}:longest_copy",
        ("tokens", "training_tokens"),
        "longest copy",
        "of the longest run of tokens of a block that stands in one block of the real training split: `mean` over"
        " blocks and `max` (memorisation, arXiv 2509.16499)",
        unit="tokens",
        cost="dear",
        caveat="Grows with the size of the training split; common phrases count too",
        is_default=False,
        **_POSITIVE,
    ),
)

AUTOENCODERS = (
    _real(
        "elbo",
        f"{_IMAGES}:elbo",
        ("mean_reconstruction_loss", "mean_kl"),
        "evidence lower bound",
        "evidence lower bound at one draw of noise, the same for every generation",
        unit="nats / image",
    ),
    _real(
        "reconstruction",
        f"{_IMAGES}:reconstruction",
        ("mean_reconstruction_loss",),
        "reconstruction loss",
        "the reconstruction loss, the first part of `elbo`",
        unit="nats / image",
    ),
    _real(
        "kl",
        f"{_IMAGES}:kl",
        ("mean_kl",),
        "KL divergence",
        "the KL divergence from the prior, the second part of `elbo`",
        unit="nats / image",
        **_POSITIVE,
    ),
    _real("images", f"{_IMAGES}:images", ("reconstruction_losses",), "images", "how many images", unit="images"),
    *(
        metric_member(
            name,
            f"{_IMAGES}:{name}",
            of=("synthetic", "real"),
            needs=("latents",),
            label=label,
            what=what,
            is_default=True,
            possible=possible,
        )
        for name, label, what, possible in (
            ("latent_mean", "latent mean", "mean of the latent means of samples under generation 0's encoder", None),
            (
                "latent_spread",
                "latent spread",
                "standard deviation of the latent means of samples under generation 0's encoder",
                (0.0, math.inf),
            ),
        )
    ),
    _synthetic("samples", f"{_IMAGES}:samples", ("features",), "samples", "how many samples", unit="images"),
    _synthetic(
        "kid",
        f"{_IMAGES}:kid",
        ("features", "real_features"),
        "KID",
        "squared maximum mean discrepancy to real test images in the classifier's features (Bińkowski et al. 2018)",
        cost="dear",
        caveat="Without bias: it can be negative. The features are of the laboratory's own classifier, not Inception's",
    ),
    _synthetic(
        "precision_and_recall",
        f"{_IMAGES}:manifolds",
        ("features", "real_features", "neighbours"),
        "precision and recall",
        "`precision`: samples within the manifold of real test images; `recall`: the other way round (Kynkäänniemi et"
        " al. 2019)",
        unit="share",
        cost="dear",
        records=("precision", "recall"),
    ),
    _synthetic(
        "class_share",
        f"{_IMAGES}:class_share",
        ("logits",),
        "class shares",
        "samples that the classifier sees in each class",
        unit="share",
    ),
    _synthetic(
        "class_entropy",
        f"{_IMAGES}:class_entropy",
        ("logits",),
        "class entropy",
        "entropy of the classes that the classifier sees; ln(classes) where all are equally frequent",
        unit="nats",
        **_POSITIVE,
    ),
    _synthetic(
        "classifier_confidence",
        f"{_IMAGES}:confidence",
        ("logits",),
        "classifier confidence",
        "mean probability that the classifier gives to the class it sees",
        possible=(0.0, 1.0),
    ),
    metric_member(
        "classifier",
        f"{_IMAGES}:classifier",
        of="model",
        needs=("classifier_test_accuracy",),
        label="classifier",
        what="`test_accuracy`: share of the real test images whose class the classifier sees",
        is_default=True,
        possible_of={"test_accuracy": (0.0, 1.0)},
    ),
)

ANY_FAMILY = (
    _synthetic(
        "generated",
        "modelcollapse.metrics.cost:generated",
        ("generated_amount",),
        "generated",
        "what the model generated for the set, before a selection: tokens after the prompts, or images",
        unit="tokens or images",
        is_default=False,
        **_POSITIVE,
    ),
)

MEMBERS = (*LANGUAGE_MODELS, *AUTOENCODERS, *ANY_FAMILY)
