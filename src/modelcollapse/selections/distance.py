"""A reward of points: how near they are to one."""

import torch


class Distance:
    """Minus the Euclidean distance of a row to a point: a reward that is highest there, after Ferbach et al.

    Their theory (arXiv 2407.09499) is for bounded rewards: this one is at most 0.
    """

    def __init__(self, point: tuple[float, ...]) -> None:
        self._point = torch.tensor(point, dtype=torch.float64)

    def __call__(self, candidates: torch.Tensor) -> torch.Tensor:
        """Scores [rows] of points [rows, d], in their units."""
        return -(candidates - self._point).norm(dim=1)
