"""The kind of data ``gamma_samples``, of the form ``positive_samples``."""

import torch

from collapse_examples.settings import GammaSettings
from modelcollapse.seeding import Stream


class GammaSamples:
    """A Gamma distribution, from which every replicate has rows of its own."""

    def __init__(self, settings: GammaSettings) -> None:
        self._shape, self.mean = settings.shape, settings.mean

    def draw(self, replicates: int, rows: int, stream: Stream) -> torch.Tensor:
        """Rows [replicates, rows, 1] float64; all that is random comes from the stream."""
        scale = self.mean / self._shape
        return torch.from_numpy(stream.numpy().gamma(self._shape, scale, size=(replicates, rows, 1)))
