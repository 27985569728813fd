"""The scorer ``fewest_repeats``: text that does not repeat itself scores highest."""

import torch


class FewestRepeats:
    """Scores a row by the share of its sequences of ``length`` tokens that are the only one of their kind in it."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __call__(self, candidates: torch.Tensor) -> torch.Tensor:
        """Scores [rows] of token numbers [rows, tokens]; a rule, such as ``top``, keeps those with high ones."""
        sequences = candidates.unfold(1, self._length, 1)
        return torch.tensor([len(row.unique(dim=0)) / len(row) for row in sequences])
