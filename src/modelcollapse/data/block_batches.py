"""Token blocks as networks are trained on them."""

from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from modelcollapse.data.batches import ONLY_RANK, EpochSampler, Rank, in_order


class TrainingBlocks(torch.utils.data.Dataset[dict[str, Any]]):
    """Weighted blocks that are fetched a whole batch, or one rank's rows of a batch, at a time."""

    def __init__(self, blocks: torch.Tensor, weights: torch.Tensor, rank: Rank) -> None:
        self._blocks, self._weights, self._rank = blocks, weights, rank

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, rows: list[int]) -> dict[str, Any]:
        """Tokens [batch, length] int64 and weights [batch] float32 of this rank's part of the rows, and its scale.

        With mean losses multiplied by their scales, the average over the processes is the mean over all these rows. A
        process that is left without a row takes one that counts nothing.
        """
        own = self._rank.of_batch(rows)
        taken = own or rows[:1]
        return {
            "tokens": self._blocks[taken].long(),
            "weights": self._weights[taken] * bool(own),
            "scale": len(own) * self._rank.world_size / len(rows),
        }


class BlocksDataModule(LightningDataModule):
    """A composed training set and the real validation split of one fit, or one rank's part of them."""

    def __init__(
        self,
        blocks: torch.Tensor,
        weights: torch.Tensor,
        validation: torch.Tensor,
        sampler: EpochSampler,
        scoring_batch_size: int,
        rank: Rank = ONLY_RANK,
    ) -> None:
        super().__init__()
        self._training = TrainingBlocks(blocks, weights, rank)
        self._validation, self._sampler, self._scoring_batch_size = validation, sampler, scoring_batch_size
        self._rank = rank
        # A validation split may have fewer rows than there are processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.tokens_per_epoch = sampler.rows_per_epoch * blocks.shape[1]
        """Of all processes together."""

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Training batches in the epoch's own order."""
        return DataLoader(self._training, sampler=self._sampler, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[torch.Tensor]:
        """The real validation split in order."""
        return in_order(self._validation, self._scoring_batch_size, self._rank)
