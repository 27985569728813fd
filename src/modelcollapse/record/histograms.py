"""Distributions as they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HISTOGRAM_BINS = 64


@dataclass(frozen=True)
class Histogram:
    """A distribution as it is drawn: bins of equal width over the finite values."""

    counts: tuple[int, ...]
    """Values per bin."""
    edges: tuple[float, ...]
    """Bin edges, one more than there are bins."""
    nonfinite: int
    """How many values were NaN or infinite, and are in no bin."""


def histogram(values: np.ndarray) -> Histogram:
    """Count values into :data:`HISTOGRAM_BINS` bins of equal width between their extremes.

    Args:
        values: Numbers in any shape; NaN and infinities are counted apart.
    """
    import numpy as np

    flat = np.asarray(values, dtype=np.float64).ravel()
    finite = flat[np.isfinite(flat)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    magnitude = max(1.0, abs(low), abs(high))
    # A collapsed distribution can be narrower than 64 representable bins, which numpy refuses.
    margin = 0.5 * magnitude if high - low < 1e-12 * magnitude else 0.0
    counts, edges = np.histogram(finite, bins=HISTOGRAM_BINS, range=(low - margin, high + margin))
    return Histogram(tuple(counts.tolist()), tuple(edges.tolist()), nonfinite=int(flat.size - finite.size))
