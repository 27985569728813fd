"""Which words a set still uses, and how often, against real text.

`tokens` and `training_tokens` are integer arrays or tensors [blocks, length] of token ids, of a synthetic set and of
the real training split. A *type* is a distinct token id.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from modelcollapse.metrics.diversity import Blocks, unigram_entropy

if TYPE_CHECKING:
    from modelcollapse.metrics.likelihood import Language

ZIPF_RANKS = (1, 1000)
"""First and last rank that the exponent is fitted to; fewer where a set has fewer types."""
BANDS = (("1", 1, 1), ("2_to_9", 2, 9), ("10_to_99", 10, 99), ("100_to_999", 100, 999), ("1000_up", 1000, math.inf))
"""Bands of types: name, and how often at least and at most they occur in the real training split."""
PRIOR_COUNT = 0.5
"""What is added to the count of every n-gram (Krichevsky & Trofimov 1981)."""


def effective_vocabulary(tokens: Blocks) -> float:
    """Types of a uniform distribution of the same entropy: exp of `unigram_entropy`, at least 1."""
    return math.exp(unigram_entropy(tokens))


def zipf(tokens: Blocks) -> dict[str, float]:
    """Exponent s of p(rank) ~ rank^-s of the most frequent types, by maximum likelihood, and the last rank fitted.

    The likelihood is that of the tokens of the ranks 1 to R, under the law cut off at R; its derivative, the difference
    between the mean of log rank observed and expected, falls in s and is solved for by bisection in [0, 20]. A set of
    one type has no exponent.
    """
    counts = np.sort(np.unique(np.asarray(tokens), return_counts=True)[1])[::-1]
    counts = counts[ZIPF_RANKS[0] - 1 : ZIPF_RANKS[1]].astype(np.float64)
    if counts.size < 2:
        return {"last_rank": float(counts.size)}
    log_ranks = np.log(np.arange(ZIPF_RANKS[0], ZIPF_RANKS[0] + counts.size))
    observed = float(counts @ log_ranks / counts.sum())
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        weights = np.exp(-middle * log_ranks)
        low, high = (middle, high) if weights @ log_ranks / weights.sum() > observed else (low, middle)
    return {"exponent": (low + high) / 2, "last_rank": float(counts.size)}


def bigram_kl(tokens: Blocks, training_tokens: Blocks) -> float:
    """KL(real || synthetic) of bigrams in nats, half a count added to each bigram that occurs in either, at least 0."""
    return _ngram_kl(tokens, training_tokens, 2)


def unigram_kl(tokens: Blocks, training_tokens: Blocks) -> float:
    """KL(real || synthetic) of tokens in nats, half a count added to each type that occurs in either, at least 0."""
    return _ngram_kl(tokens, training_tokens, 1)


def _ngram_kl(tokens: Blocks, training_tokens: Blocks, n: int) -> float:
    """KL divergence of the real distribution of n-grams from the synthetic one, n-grams within blocks; n is 1 or 2."""
    synthetic, real = np.asarray(tokens, dtype=np.int64), np.asarray(training_tokens, dtype=np.int64)
    base = 1 + max(synthetic.max(), real.max())
    synthetic, real = (each if n == 1 else base * each[:, :-1] + each[:, 1:] for each in (synthetic, real))
    codes, places = np.unique(np.concatenate([real.ravel(), synthetic.ravel()]), return_inverse=True)
    counts = [np.bincount(part, minlength=codes.size) + PRIOR_COUNT for part in np.split(places, [real.size])]
    real_shares, synthetic_shares = (part / part.sum() for part in counts)
    return max(0.0, float(real_shares @ np.log(real_shares / synthetic_shares)))


def bands_kept(tokens: Blocks, training_tokens: Blocks) -> dict[str, float]:
    """Share of the types of each band of real frequency that occur in the set, in [0, 1]; of empty bands nothing."""
    types, counts = np.unique(np.asarray(training_tokens), return_counts=True)
    kept = np.isin(types, np.asarray(tokens))
    within = {name: (counts >= least) & (counts <= most) for name, least, most in BANDS}
    return {name: float(kept[chosen].mean()) for name, chosen in within.items() if chosen.any()}


def true_deciles_kept(tokens: Blocks, language: "Language") -> dict[str, float]:
    """Share of the words of each tenth of the vocabulary that occur in the set, `1` the most probable, in [0, 1]."""
    most_probable_first = np.argsort(-language.unigram(), kind="stable")
    kept = np.isin(most_probable_first, np.asarray(tokens))
    return {str(number): float(part.mean()) for number, part in enumerate(np.array_split(kept, 10), 1)}
