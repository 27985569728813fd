"""The merge ``bounded_update``: no generation goes further than a radius from generation 0."""

from collections.abc import Mapping

import torch


class BoundedUpdate:
    """Moves the weights back towards generation 0's where they are further away than ``radius`` times its norm.

    theta = theta_0 + min(1, radius |theta_0| / |theta_t - theta_0|) (theta_t - theta_0)
    """

    def __init__(self, radius: float) -> None:
        self._radius = radius

    def __call__(
        self, fitted: Mapping[str, torch.Tensor], *, reference: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The merged weights, by the names of the fitted ones."""
        updates = {name: fitted[name] - reference[name] for name in fitted}
        share = min(1.0, self._radius * _norm(reference) / max(_norm(updates), 1e-30))
        return {name: reference[name] + share * update for name, update in updates.items()}


def _norm(weights: Mapping[str, torch.Tensor]) -> float:
    return float(sum(weight.double().square().sum() for weight in weights.values())) ** 0.5
