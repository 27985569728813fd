"""Blocks of tokens: made from text, kept as one tensor per split, and served batch by batch."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = "blocks.safetensors"
LINES_AT_ONCE = 2000


def tokenise(lines: Iterable[str], tokenizer: "PreTrainedTokenizerBase", line_start_token: bool) -> np.ndarray:
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
