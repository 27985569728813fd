"""How varied a set of token blocks is.

Every function takes `blocks`, an integer array [blocks, length] of token ids in [0, 2**31), and raises
`ValueError` for anything else, for an array without tokens, and for n-grams longer than a block. A *type*
is a distinct token id.
"""

import numpy as np
import numpy.typing as npt

Blocks = npt.NDArray[np.integer]
"""Token ids, [blocks, length]."""

_TOKEN_LIMIT = 2**31
_CODE_LIMIT = 2**63


def diversity(blocks: Blocks, real_blocks: Blocks) -> dict[str, float]:
    """All measures of this module under flat names; `real_blocks` is the real training split."""
    return {
        "distinct_1": distinct_n(blocks, 1),
        "distinct_2": distinct_n(blocks, 2),
        "distinct_3": distinct_n(blocks, 3),
        "type_token_ratio": type_token_ratio(blocks),
        "vocabulary_kept": vocabulary_kept(blocks, real_blocks),
        "unigram_entropy": unigram_entropy(blocks),
        "repetition_rate": repetition_rate(blocks),
    }


def distinct_n(blocks: Blocks, n: int) -> float:
    """Distinct n-grams over all n-grams of the whole set, in (0, 1] (Li et al. 2016, arXiv 1510.03055).

    N-grams lie within a block, never across two. The value depends on the size of the set: the more text,
    the fewer n-grams are new, so it falls with size even when the distribution stays the same. Compare
    sets of equal size only.
    """
    ordered = np.sort(_ngram_codes(blocks, n), axis=None)
    return float((1 + np.count_nonzero(ordered[1:] != ordered[:-1])) / ordered.size)


def type_token_ratio(blocks: Blocks) -> float:
    """Types over tokens within a block, mean over blocks, in (0, 1].

    The mean segmental type-token ratio (Johnson 1944). Of the whole set the ratio is `distinct_n(blocks,
    1)` and falls with the size of the set. Per block it does not, and sets of different size can be
    compared, as long as their blocks are equally long.
    """
    return 1.0 - repetition_rate(blocks, n=1)


def vocabulary_kept(blocks: Blocks, real_blocks: Blocks) -> float:
    """Share of the types of the real training split that still occur in `blocks`, in [0, 1].

    A smaller set misses rare types by size alone: compare sets of equal size only.
    """
    real_types = np.unique(_checked(real_blocks))
    return float(np.isin(real_types, _checked(blocks)).mean())


def unigram_entropy(blocks: Blocks) -> float:
    """Entropy of the distribution of tokens in nats, with the Miller-Madow correction (Miller 1955).

    The plug-in estimate of N independent tokens over V types is too low by about (V - 1) / 2N. A
    collapsing model loses types, so that bias shrinks from generation to generation and would hide part
    of the loss: hence the corrected value is the only one offered. V is taken as the types observed, so
    types too rare to be seen remain uncorrected. Tokens of text depend on each other, which makes the
    remaining bias larger than theory has it; with N far above V it is negligible.
    """
    counts = np.unique(_checked(blocks), return_counts=True)[1]
    shares = counts / counts.sum()
    plug_in = -np.sum(shares * np.log(shares))
    return float(plug_in + (counts.size - 1) / (2 * counts.sum()))


def repetition_rate(blocks: Blocks, n: int = 3) -> float:
    """Share of a block's n-grams that already occurred earlier in that block, mean over blocks, in [0, 1).

    It does not depend on the number of blocks, but on their length.
    """
    ordered = np.sort(_ngram_codes(blocks, n), axis=1)
    repeated = ordered[:, 1:] == ordered[:, :-1]
    return float(np.count_nonzero(repeated) / ordered.size)


def _checked(blocks: Blocks) -> npt.NDArray[np.int64]:
    tokens = np.asarray(blocks)
    if tokens.ndim != 2 or tokens.size == 0 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(
            f"blocks must be a non-empty integer array [blocks, length], got {tokens.dtype} {tokens.shape}"
        )
    if tokens.min() < 0 or tokens.max() >= _TOKEN_LIMIT:
        raise ValueError(f"token ids must lie in [0, 2**31), got {tokens.min()} to {tokens.max()}")
    return tokens.astype(np.int64)


def _ngram_codes(blocks: Blocks, n: int) -> npt.NDArray[np.int64]:
    """One integer per n-gram, [blocks, length - n + 1]: equal integers if and only if equal n-grams."""
    tokens = _checked(blocks)
    count = tokens.shape[1] - n + 1
    if n < 1 or count < 1:
        raise ValueError(f"blocks of {tokens.shape[1]} tokens have no n-grams of n = {n}")
    base = int(tokens.max()) + 1
    codes = tokens[:, :count]
    for offset in range(1, n):
        if (int(codes.max()) + 1) * base >= _CODE_LIMIT:
            codes = np.unique(codes, return_inverse=True)[1].reshape(codes.shape)
        codes = codes * base + tokens[:, offset : offset + count]
    return codes
