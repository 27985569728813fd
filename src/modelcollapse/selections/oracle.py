"""The scorer that knows which rows are right: what verifiers are an imperfect copy of."""

import torch


class Oracle:
    """1 for a row that is right and 0 for one that is wrong (Feng et al., arXiv 2406.07515).

    With the rule ``verifier`` and ``at_least`` 1 this is a verifier that errs with set probabilities.
    """

    def __call__(self, candidates: torch.Tensor, *, is_right: torch.Tensor) -> torch.Tensor:
        """Scores [rows]."""
        return is_right.double()
