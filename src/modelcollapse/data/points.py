"""Points in the plane in shapes that no Gaussian has: blobs, circles, moons and a spiral."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from modelcollapse.data.settings import SamplesSettings
from modelcollapse.settings import NonNegative

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from modelcollapse.seeding import Stream

Shape = Literal["blobs", "circles", "moons", "spiral"]
BLOBS, BLOB_DISTANCE = 3, 3.0
INNER_RADIUS = 0.8
TURNS = 1.5


@dataclass(frozen=True)
class ShapesSettings(SamplesSettings):
    """Real data in the plane, after the sets of scikit-learn that Kazdan et al. (2024) use."""

    kind: Literal["shapes"]
    """Names the kind of data."""
    shape: Shape
    """``blobs``: three round Gaussians; ``circles``: radii 1 and 0.8; ``moons``: two half circles; ``spiral``: the
    Swiss roll seen from the side, at a tenth of its size."""
    noise: NonNegative
    """Standard deviation of Gaussian noise on each coordinate."""

    @property
    def numbers_per_row(self) -> int:
        """Two coordinates."""
        return 2


class Shapes:
    """Draws points of a shape."""

    def __init__(self, settings: ShapesSettings) -> None:
        self._shape, self._noise = settings.shape, settings.noise

    def draw(self, replicates: int, rows: int, stream: "Stream") -> "torch.Tensor":
        """Independent points, [R, rows, 2]."""
        import torch

        generator = stream.numpy()
        points = _POINTS[self._shape](generator, (replicates, rows))
        return torch.from_numpy(points + self._noise * generator.standard_normal(points.shape))

    @property
    def mean(self) -> tuple[float, float]:
        """The mean of the distribution."""
        return _MOMENTS[self._shape]()[0]

    @property
    def variance(self) -> float:
        """The variance of the distribution, mean over the two coordinates."""
        mean, square = _MOMENTS[self._shape]()
        return (square - math.hypot(*mean) ** 2) / 2 + self._noise**2


def _blobs(generator: "np.random.Generator", size: tuple[int, int]) -> "NDArray[np.float64]":
    angles = 2 * math.pi / BLOBS * generator.integers(0, BLOBS, size)
    return BLOB_DISTANCE * _on_circle(angles) + generator.standard_normal((*size, 2))


def _circles(generator: "np.random.Generator", size: tuple[int, int]) -> "NDArray[np.float64]":
    import numpy as np

    radii = np.where(generator.random(size) < 0.5, 1.0, INNER_RADIUS)
    return radii[..., None] * _on_circle(2 * math.pi * generator.random(size))


def _moons(generator: "np.random.Generator", size: tuple[int, int]) -> "NDArray[np.float64]":
    import numpy as np

    upper = generator.random(size) < 0.5
    arc = _on_circle(math.pi * generator.random(size))
    return np.where(upper[..., None], arc, np.array([1.0, 0.5]) - arc)


def _spiral(generator: "np.random.Generator", size: tuple[int, int]) -> "NDArray[np.float64]":
    # The angle of the Swiss roll runs from 1.5 pi to 4.5 pi, and its radius is the angle; here a tenth of it.
    angles = TURNS * math.pi * (1 + 2 * generator.random(size))
    return angles[..., None] / 10 * _on_circle(angles)


def _on_circle(angles: "NDArray[np.floating[Any]]") -> "NDArray[np.float64]":
    import numpy as np

    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


_POINTS = {"blobs": _blobs, "circles": _circles, "moons": _moons, "spiral": _spiral}


def _of_blobs() -> tuple[tuple[float, float], float]:
    return (0.0, 0.0), BLOB_DISTANCE**2 + 2


def _of_circles() -> tuple[tuple[float, float], float]:
    return (0.0, 0.0), (1 + INNER_RADIUS**2) / 2


def _of_moons() -> tuple[tuple[float, float], float]:
    # E[cos] = 0 and E[sin] = 2 / pi on the half circle; E|(1, 1/2) - arc|^2 = 1 + 5/4 - 2 / pi.
    return (0.5, 0.25), (1 + 1 + 1.25 - 2 / math.pi) / 2


def _of_spiral() -> tuple[tuple[float, float], float]:
    low, high = TURNS * math.pi, 3 * TURNS * math.pi
    across = [(math.cos(t) + t * math.sin(t), math.sin(t) - t * math.cos(t)) for t in (low, high)]
    x, y = ((end - start) / (high - low) / 10 for start, end in zip(*across, strict=True))
    return (x, y), (high**3 - low**3) / (3 * (high - low)) / 100


_MOMENTS = {"blobs": _of_blobs, "circles": _of_circles, "moons": _of_moons, "spiral": _of_spiral}
"""Mean, and mean squared norm, of points without noise."""
