"""Batches of rows of tensors in memory: their order, and their division among ranks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from modelcollapse.seeding import Stream


@dataclass(frozen=True)
class Rank:
    """One of ``world_size`` processes that divide rows among themselves: each row belongs to exactly one rank."""

    index: int = 0
    world_size: int = 1

    def of_batch(self, rows: Sequence[int]) -> Sequence[int]:
        """Its rows of a training batch; none where there are fewer rows than ranks."""
        return rows[self.index :: self.world_size]

    def of_range(self, rows: int) -> range:
        """Its rows of ``range(rows)``, consecutive, for data that are read in order."""
        return range(rows * self.index // self.world_size, rows * (self.index + 1) // self.world_size)


ONLY_RANK = Rank()


class EpochSampler(Sampler[list[int]]):
    """Batches of rows in an order that depends on the stream and the epoch only, so that a fit resumes at any epoch.

    An epoch takes the next ``rows_per_epoch`` rows of an endless sequence of permutations of all rows; with ``repeats``
    every epoch takes those of the first one.
    """

    def __init__(self, rows: int, rows_per_epoch: int, batch_size: int, stream: Stream, repeats: bool = False) -> None:
        self._rows, self._rows_per_epoch, self._batch_size, self._stream = (
            rows,
            rows_per_epoch,
            batch_size,
            stream,
        )
        self._epoch, self._repeats = 0, repeats

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration serves; Lightning calls this before each epoch."""
        self._epoch = 0 if self._repeats else epoch

    @property
    def epoch(self) -> int:
        """The epoch whose rows are taken."""
        return self._epoch

    @property
    def rows_per_epoch(self) -> int:
        """Rows of all batches of an epoch."""
        return self._rows_per_epoch

    def __len__(self) -> int:
        return -(-self._rows_per_epoch // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order()
        for start in range(0, len(order), self._batch_size):
            yield order[start : start + self._batch_size].tolist()

    def _order(self) -> np.ndarray:
        first = self._epoch * self._rows_per_epoch
        last = first + self._rows_per_epoch
        passes = range(first // self._rows, -(-last // self._rows))
        orders = [self._stream.at(number).numpy().permutation(self._rows) for number in passes]
        offset = passes.start * self._rows
        return np.concatenate(orders)[first - offset : last - offset]


def in_order(rows: torch.Tensor, batch_size: int, rank: Rank = ONLY_RANK) -> DataLoader[torch.Tensor]:
    """Batches of rows, first to last."""
    batches = _ranges(rank.of_range(len(rows)), batch_size)
    return DataLoader(_Rows(rows), sampler=batches, batch_size=None, generator=torch.Generator())


def in_order_together(
    columns: Sequence[torch.Tensor], batch_size: int, rank: Rank = ONLY_RANK
) -> DataLoader[tuple[torch.Tensor, ...]]:
    """Batches of the rows of several tensors of one length, side by side, first to last."""
    batches = _ranges(rank.of_range(len(columns[0])), batch_size)
    return DataLoader(_Columns(columns), sampler=batches, batch_size=None, generator=torch.Generator())


def _ranges(rows: range, size: int) -> Sequence[range]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class _Columns(Dataset[tuple[torch.Tensor, ...]]):
    def __init__(self, columns: Sequence[torch.Tensor]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[0])

    def __getitem__(self, rows: range) -> tuple[torch.Tensor, ...]:
        return tuple(column[rows.start : rows.stop] for column in self._columns)


class _Rows(Dataset[torch.Tensor]):
    def __init__(self, rows: torch.Tensor) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: range) -> torch.Tensor:
        return self._rows[rows.start : rows.stop]
