"""How varied a set of token blocks is.

Every function takes `tokens`, an integer array or tensor [blocks, length] of token ids in [0, 2**31), and raises
`ValueError` for anything else, for an array without tokens, and for n-grams longer than a block. A *type*
is a distinct token id.
"""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Blocks: TypeAlias = "npt.NDArray[np.integer] | torch.Tensor"
"""Token ids, [blocks, length]."""

_TOKEN_LIMIT = 2**31
_CODE_LIMIT = 2**63


def distinct_n(tokens: Blocks, n: int) -> float:
    """Distinct n-grams over all n-grams of the whole set, in (0, 1] (Li et al. 2016, arXiv 1510.03055).

    N-grams lie within a block, never across two. The value depends on the size of the set: the more text,
    the fewer n-grams are new, so it falls with size even when the distribution stays the same. Compare
    sets of equal size only.
    """
    ordered = np.sort(_ngram_codes(tokens, n), axis=None)
    return float((1 + np.count_nonzero(ordered[1:] != ordered[:-1])) / ordered.size)


def distinct_1(tokens: Blocks) -> float:
    """Distinct tokens over all tokens of the whole set; see `distinct_n`."""
    return distinct_n(tokens, 1)


def distinct_2(tokens: Blocks) -> float:
    """Distinct bigrams over all bigrams of the whole set; see `distinct_n`."""
    return distinct_n(tokens, 2)


def distinct_3(tokens: Blocks) -> float:
    """Distinct trigrams over all trigrams of the whole set; see `distinct_n`."""
    return distinct_n(tokens, 3)


def distinct_4(tokens: Blocks) -> float:
    """Distinct 4-grams over all 4-grams of the whole set; see `distinct_n`."""
    return distinct_n(tokens, 4)


def type_token_ratio(tokens: Blocks) -> float:
    """Types over tokens within a block, mean over blocks, in (0, 1].

    The mean segmental type-token ratio (Johnson 1944). Of the whole set the ratio is `distinct_n(tokens,
    1)` and falls with the size of the set. Per block it does not, and sets of different size can be
    compared, as long as their blocks are equally long.
    """
    repeated = _repeated(tokens, 1)
    return 1.0 - float(np.count_nonzero(repeated) / (repeated.size + len(repeated)))


def vocabulary_kept(tokens: Blocks, training_tokens: Blocks) -> float:
    """Share of the types of the real training split that still occur in `tokens`, in [0, 1].

    A smaller set misses rare types by size alone: compare sets of equal size only.
    """
    real_types = np.unique(_checked(training_tokens))
    return float(np.isin(real_types, _checked(tokens)).mean())


def unigram_entropy(tokens: Blocks) -> float:
    """Entropy of the distribution of tokens in nats, with the Miller-Madow correction (Miller 1955).

    The plug-in estimate of N independent tokens over V types is too low by about (V - 1) / 2N. A
    collapsing model loses types, so that bias shrinks from generation to generation and would hide part
    of the loss: hence the corrected value is the only one offered. V is taken as the types observed, so
    types too rare to be seen remain uncorrected. Tokens of text depend on each other, which makes the
    remaining bias larger than theory has it; with N far above V it is negligible.
    """
    counts = np.unique(_checked(tokens), return_counts=True)[1]
    shares = counts / counts.sum()
    plug_in = -np.sum(shares * np.log(shares))
    return float(plug_in + (counts.size - 1) / (2 * counts.sum()))


def repeated_trigrams(tokens: Blocks) -> float:
    """Share of a block's trigrams that already occurred earlier in that block, mean over blocks, in [0, 1).

    It does not depend on the number of blocks, but on their length.
    """
    repeated = _repeated(tokens, 3)
    return float(np.count_nonzero(repeated) / (repeated.size + len(repeated)))


def repetition_rate(tokens: Blocks, n: int = 3) -> "torch.Tensor":
    """Share of each block's n-grams that already occurred earlier in that block, float64 [blocks], in [0, 1)."""
    import torch

    repeated = _repeated(tokens, n)
    return torch.from_numpy(np.count_nonzero(repeated, axis=1) / (repeated.shape[1] + 1))


def _repeated(tokens: Blocks, n: int) -> npt.NDArray[np.bool_]:
    """Of each block's n-grams in some order, all but the first: whether it is one of those before it."""
    ordered = np.sort(_ngram_codes(tokens, n), axis=1)
    return ordered[:, 1:] == ordered[:, :-1]


def _checked(tokens: Blocks) -> npt.NDArray[np.int64]:
    ids = np.asarray(tokens)
    if ids.ndim != 2 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"blocks must be a non-empty integer array [blocks, length], got {ids.dtype} {ids.shape}")
    if ids.min() < 0 or ids.max() >= _TOKEN_LIMIT:
        raise ValueError(f"token ids must lie in [0, 2**31), got {ids.min()} to {ids.max()}")
    return ids.astype(np.int64)


def _ngram_codes(tokens: Blocks, n: int) -> npt.NDArray[np.int64]:
    """One integer per n-gram, [blocks, length - n + 1]: equal integers if and only if equal n-grams."""
    ids = _checked(tokens)
    count = ids.shape[1] - n + 1
    if n < 1 or count < 1:
        raise ValueError(f"blocks of {ids.shape[1]} tokens have no n-grams of n = {n}")
    base = int(ids.max()) + 1
    codes = ids[:, :count]
    for offset in range(1, n):
        if (int(codes.max()) + 1) * base >= _CODE_LIMIT:
            codes = np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
        codes = codes * base + ids[:, offset : offset + count]
    return codes
