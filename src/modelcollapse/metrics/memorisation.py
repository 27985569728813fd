"""What a set copies from the real training split, token by token."""

import numpy as np
import numpy.typing as npt

from modelcollapse.metrics.diversity import Blocks


def longest_copy(tokens: Blocks, training_tokens: Blocks) -> dict[str, float]:
    """Longest run of tokens of a block that stands somewhere in one block of the training split: mean and largest.

    Runs of n tokens are numbered jointly in both sets from those of n - 1, until a length at which none is shared.

    Args:
        tokens: [blocks, length] integers.
        training_tokens: The same of the real training split.
    """
    sets = [np.asarray(each, dtype=np.int64) for each in (tokens, training_tokens)]
    longest = np.zeros(len(sets[0]), dtype=np.int64)
    runs = sets
    for length in range(1, 1 + min(each.shape[1] for each in sets)):
        if length > 1:
            runs = _longer(runs, [each[:, length - 1 :] for each in sets])
        is_copied = np.isin(runs[0], runs[1]).any(axis=1)
        longest[is_copied] = length
        if not is_copied.any():
            break
    return {"mean": float(longest.mean()), "max": float(longest.max())}


def _longer(runs: list[npt.NDArray[np.int64]], following: list[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.int64]]:
    """Numbers of runs that are one token longer, equal where runs are, in both sets alike."""
    base = 1 + max(int(each.max()) for each in following)
    pairs = [each[:, : after.shape[1]] * base + after for each, after in zip(runs, following, strict=True)]
    numbers = np.unique(np.concatenate([each.ravel() for each in pairs]), return_inverse=True)[1]
    first, second = np.split(numbers, [pairs[0].size])
    return [first.reshape(pairs[0].shape), second.reshape(pairs[1].shape)]
