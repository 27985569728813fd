"""Sets of rows of all replicates, with what is known of each row."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch


class WeighedRows(NamedTuple):
    """Rows of R replicates, and what selections weighed or need to know of them."""

    rows: torch.Tensor
    """[R, rows, d]."""
    weights: torch.Tensor | None
    """[R, rows] with mean 1; None where all rows weigh the same."""
    is_synthetic: torch.Tensor | None = None
    """Whether models wrote them, bool [R, rows]; None where nothing asks."""

    def at(self, places: torch.Tensor) -> "WeighedRows":
        """The rows at some places [R, k] of each replicate, in their order, with what is known of them."""
        chosen = places[:, :, None].expand(-1, -1, self.rows.shape[2])
        known = (None if each is None else each.gather(1, places) for each in self[1:])
        return WeighedRows(self.rows.gather(1, chosen), *known)

    def each(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "WeighedRows":
        """What a function makes of the rows, and of what is known of them."""
        weights, is_synthetic = (None if known is None else function(known) for known in self[1:])
        return WeighedRows(function(self.rows), weights, is_synthetic)

    def times(self, weights: torch.Tensor | None) -> "WeighedRows":
        """The same rows, each weighing so many times what it did, with mean 1; ``weights`` [R, rows] have that."""
        if weights is None or self.weights is None:
            return self._replace(weights=self.weights if weights is None else weights)
        return self._replace(weights=self.weights * weights).scaled()

    def scaled(self) -> "WeighedRows":
        """The same rows, their weights with mean 1 in each replicate."""
        return (
            self if self.weights is None else self._replace(weights=self.weights / self.weights.mean(1, keepdim=True))
        )


def end_to_end(sets: Sequence[Any]) -> WeighedRows:
    """The rows of some sets one after another, tensors [R, rows, d] or :class:`WeighedRows`.

    Where one set has weights, rows of others weigh 1.
    """
    parts = [each if isinstance(each, WeighedRows) else WeighedRows(each, None) for each in sets]
    weights = [part.weights for part in parts]
    if any(each is not None for each in weights):
        ones = [torch.ones(part.rows.shape[:2], dtype=torch.float64) for part in parts]
        weights = [one if each is None else each for each, one in zip(weights, ones, strict=True)]
    return WeighedRows(
        _joined([part.rows for part in parts]), _joined_all(weights), _joined_all([part.is_synthetic for part in parts])
    )


def batch_of(sets: Sequence[WeighedRows]) -> WeighedRows:
    """The replicates of some sets one after another, of which as much is known."""
    rows, weights, is_synthetic = zip(*sets, strict=True)
    return WeighedRows(torch.cat(rows), _joined_all(weights, 0), _joined_all(is_synthetic, 0))


def _joined(parts: Sequence[torch.Tensor], dimension: int = 1) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dimension)


def _joined_all(parts: Sequence[torch.Tensor | None], dimension: int = 1) -> torch.Tensor | None:
    """The parts one after another; None where one of them is."""
    known = [part for part in parts if part is not None]
    return _joined(known, dimension) if len(known) == len(parts) else None
