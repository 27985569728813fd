"""Perplexities: of a whole split, and how they are distributed over the sequences of a synthetic set."""

import math

import numpy as np
import numpy.typing as npt


def perplexity(mean_nll: float) -> float:
    """Exponential of the mean negative log-likelihood per token in nats; infinite above 709.7 nats."""
    try:
        return math.exp(mean_nll)
    except OverflowError:
        return math.inf


def bits_per_byte(total_nll_nats: float, total_bytes: int) -> float:
    """Negative log-likelihood of a text in bits over its length in UTF-8 bytes.

    Unlike perplexity it can be compared between tokenizers. Raises `ValueError` when there are no bytes.
    """
    if total_bytes <= 0:
        raise ValueError(f"a text of {total_bytes} bytes has no bits per byte")
    return total_nll_nats / (math.log(2) * total_bytes)


def tail_bounds(real_values: npt.ArrayLike) -> tuple[float, float]:
    """The 1st and 99th percentile of the real validation split's per-sequence perplexities.

    Percentiles are linearly interpolated (Hyndman & Fan 1996, type 7), as everywhere in this module.
    Raises `ValueError` when there are no values or one is not finite.
    """
    low, high = np.percentile(_checked(real_values), [1, 99], method="linear")
    return float(low), float(high)


def perplexity_summary(values: npt.ArrayLike, tail_bounds: tuple[float, float]) -> dict[str, float]:
    """How perplexities, one a sequence, are spread: centre, percentiles, mass in the tails of real text.

    `tail_bounds` is what the function of that name gives for real text. `above_real_p99` and
    `below_real_p01` are the shares strictly beyond them: 0.01 each for real text, less where a tail is
    lost, more where one grows. `n` is the number of sequences. Raises `ValueError` when there are no
    values, one is not finite, or the bounds are out of order.
    """
    low, high = tail_bounds
    if not low <= high:
        raise ValueError(f"tail bounds must be (low, high), got {tail_bounds}")
    sample = _checked(values)
    p01, p05, median, p95, p99 = np.percentile(sample, [1, 5, 50, 95, 99], method="linear").tolist()
    return {
        "mean": float(sample.mean()),
        "median": median,
        "p01": p01,
        "p05": p05,
        "p95": p95,
        "p99": p99,
        "above_real_p99": float((sample > high).mean()),
        "below_real_p01": float((sample < low).mean()),
        "n": sample.size,
    }


def _checked(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64).ravel()
    broken = np.count_nonzero(~np.isfinite(sample))
    if sample.size == 0 or broken:
        raise ValueError(f"perplexities must be finite and at least one: {broken} of {sample.size} are not finite")
    return sample
