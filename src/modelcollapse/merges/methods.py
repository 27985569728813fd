"""The built-in merges: the weights of a generation out of the fitted ones and those of other generations.

A merge is called with the fitted weights, name -> tensor of floating-point numbers, and by keyword with what its
registration lists in ``needs``, see :data:`modelcollapse.merges.settings.NEEDS`. It returns weights of the same names
and shapes. A weight that layers share is given once, under its first name.
"""

from collections.abc import Mapping

import torch

Weights = Mapping[str, torch.Tensor]


class NegativeExtrapolation:
    """Weights moved away from those that were fitted to synthetic data (Neon, arXiv 2510.03597).

    theta = (1 + w) theta_0 - w theta_t, with theta_0 of generation 0, fitted to real data, and theta_t as fitted.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def __call__(self, fitted: Weights, *, reference: Weights) -> Weights:
        """The merged weights."""
        return {name: (1 + self._weight) * reference[name] - self._weight * fitted[name] for name in fitted}


class Average:
    """The weighted mean with the weights of generation 0: theta = (1 - s) theta_t + s theta_0."""

    def __init__(self, share: float) -> None:
        self._share = share

    def __call__(self, fitted: Weights, *, reference: Weights) -> Weights:
        """The merged weights."""
        return {name: (1 - self._share) * fitted[name] + self._share * reference[name] for name in fitted}
