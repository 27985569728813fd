"""Blocks of tokens: made from text, kept as one tensor per split, and served batch by batch."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from safetensors import safe_open
from safetensors.numpy import save_file
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from modelcollapse.data.batches import EVERYTHING, EpochSampler, Share, in_order

FILE = "blocks.safetensors"
LINES_AT_ONCE = 2000


def tokenise(lines: Iterable[str], tokenizer: PreTrainedTokenizerBase, line_start_token: bool) -> np.ndarray:
    """The tokens of all lines, one after the other, int32; the start token before each line if asked for."""
    start = [tokenizer.bos_token_id] if line_start_token else []
    parts: list[np.ndarray] = []
    for some in _groups(lines):
        encoded = tokenizer(some, add_special_tokens=False)["input_ids"]
        parts.append(np.fromiter(chain.from_iterable([*start, *tokens] for tokens in encoded), dtype=np.int32))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)


def _groups(lines: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(lines)
    while group := [line for _, line in zip(range(LINES_AT_ONCE), iterator, strict=False)]:
        yield group


def into_blocks(tokens: np.ndarray, length: int, most: int | None = None) -> np.ndarray:
    """Consecutive blocks [blocks, length]; the remainder is dropped, and blocks beyond ``most``."""
    count = len(tokens) // length
    count = count if most is None else min(count, most)
    return np.ascontiguousarray(tokens[: count * length].reshape(count, length))


def write_blocks(folder: Path, **splits: np.ndarray) -> None:
    """Write named arrays to the folder's block file."""
    save_file({name: np.ascontiguousarray(array) for name, array in splits.items()}, folder / FILE)


def read_blocks(folder: Path, name: str) -> torch.Tensor:
    """One array of the folder's block file, memory-mapped."""
    with safe_open(folder / FILE, framework="pt") as file:
        return file.get_tensor(name)


def block_count(folder: Path, name: str) -> int:
    """Number of rows of an array, without reading it; none where there is no such array."""
    with safe_open(folder / FILE, framework="pt") as file:
        count: int = file.get_slice(name).get_shape()[0] if name in file.keys() else 0  # noqa: SIM118
        return count


class TrainingBlocks(torch.utils.data.Dataset[dict[str, Any]]):
    """Weighted blocks that are fetched a whole batch, or one process's share of a batch, at a time."""

    def __init__(self, blocks: torch.Tensor, weights: torch.Tensor, share: Share) -> None:
        self._blocks, self._weights, self._share = blocks, weights, share

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, rows: list[int]) -> dict[str, Any]:
        """Tokens [batch, length] int64 and weights [batch] float32 of the share of these rows, and its scale.

        With mean losses multiplied by their scales, the average over the processes is the mean over all these rows. A
        process that is left without a row takes one that counts nothing.
        """
        own = self._share.of_batch(rows)
        taken = own or rows[:1]
        return {
            "tokens": self._blocks[taken].long(),
            "weights": self._weights[taken] * bool(own),
            "scale": len(own) * self._share.world_size / len(rows),
        }


class BlocksDataModule(LightningDataModule):
    """A composed training set and the real validation split of one fit, or one process's share of them."""

    def __init__(
        self,
        blocks: torch.Tensor,
        weights: torch.Tensor,
        validation: torch.Tensor,
        sampler: EpochSampler,
        scoring_batch_size: int,
        share: Share = EVERYTHING,
    ) -> None:
        super().__init__()
        self._training = TrainingBlocks(blocks, weights, share)
        self._validation, self._sampler, self._scoring_batch_size = validation, sampler, scoring_batch_size
        self._share = share
        # A validation split may have fewer rows than there are processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.tokens_per_epoch = sampler.rows_per_epoch * blocks.shape[1]
        """Of all processes together."""

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Training batches in the epoch's own order."""
        return DataLoader(self._training, sampler=self._sampler, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[torch.Tensor]:
        """The real validation split in order."""
        return in_order(self._validation, self._scoring_batch_size, self._share)
