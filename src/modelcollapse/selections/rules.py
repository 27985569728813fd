"""The built-in rules: which of the candidates are kept, given a score for each.

A rule is called with the number of candidates, the number of rows wanted, and by keyword what its registration says
that it needs: ``scores`` [candidates] float64, higher is better, and ``stream``, of which it draws what is random. It
returns the numbers of exactly the rows wanted, where a row may stand twice, or a pair of these and their weights.
"""

import numpy as np
import torch

from modelcollapse.regimes.rows import random_keys
from modelcollapse.seeding import Stream


class Random:
    """Keeps a random choice without replacement: the control for selections by content."""

    def __call__(self, candidates: int, wanted: int, *, stream: Stream) -> torch.Tensor:
        """Rows [wanted], ascending; every choice is equally likely."""
        chosen = np.argsort(random_keys(candidates, stream), kind="stable")[:wanted]
        return torch.from_numpy(np.sort(chosen))


class Top:
    """Keeps the candidates with the highest scores; of equal ones those that were generated first."""

    def __call__(self, candidates: int, wanted: int, *, scores: torch.Tensor) -> torch.Tensor:
        """Rows [wanted], ascending."""
        best_first = torch.argsort(scores, descending=True, stable=True)
        return best_first[:wanted].sort().values
