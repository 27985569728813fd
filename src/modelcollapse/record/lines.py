"""JSON lines files of a run folder: writing, syncing and reading them."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.store.files import temporary_beside

if TYPE_CHECKING:
    import numpy as np


SYNC_SECONDS = 1.0
"""A power failure loses the lines of so many seconds at most: a cheap generation takes no longer than a sync."""


class Lines:
    """A file of JSON lines that one process appends to; opening it starts it anew."""

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        """``durable``: lines are on the disk (fsync) within :data:`SYNC_SECONDS` or when the file is closed."""
        # A new file renamed over the old one: a second process in the same folder gets a file of its own,
        # and lines of two processes never mix.
        temporary = temporary_beside(path)
        self._file = temporary.open("wb")
        temporary.replace(path)
        self._durable = durable
        self._synced, self._is_behind = -SYNC_SECONDS, False

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line."""
        try:
            text = _encode(line)
        except (TypeError, ValueError):
            text = _encode({name: _encoded(value) for name, value in line.items()})
        self._file.write(text.encode() + b"\n")
        self._file.flush()
        self._is_behind = self._durable
        if self._is_behind and time.monotonic() - self._synced >= SYNC_SECONDS:
            self._sync()

    def close(self) -> None:
        """Sync what the disk may not have yet, and close the file."""
        if self._is_behind:
            self._sync()
        self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced, self._is_behind = time.monotonic(), False


_encode = json.JSONEncoder(allow_nan=False).encode


def _encoded(value: Any) -> Any:
    """The value as strict JSON; numbers of numpy and torch become plain ones."""
    if value is None or isinstance(value, (str, bool, list, tuple, dict)):
        return value
    if isinstance(value, Integral):
        return int(value)
    plain = float(value)
    if math.isnan(plain):
        return None
    if math.isinf(plain):
        return "Infinity" if plain > 0 else "-Infinity"
    return plain


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All lines of a file of JSON lines, see :func:`each_line`."""
    return list(each_line(path))


def each_line(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of JSON lines, one at a time.

    A last line without its end, of a killed or a living process, is left out.

    Raises:
        ValueError: Any other line is damaged.
    """
    with path.open("rb") as file:
        for position, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {position}, is damaged: {error}") from error


def number(value: float | str | None) -> float:
    """The number that a line holds: ``null`` is NaN, ``"Infinity"`` and ``"-Infinity"`` the infinities."""
    return math.nan if value is None else float(value)


HISTOGRAM_BINS = 64


@dataclass(frozen=True)
class Histogram:
    """A histogram: bins of equal width over the finite values."""

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
