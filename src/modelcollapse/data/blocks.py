"""Blocks of tokens: made from text, kept as one tensor per split, and served batch by batch.

Text is tokenised and cut as it is read, and what was cut is on disk: neither is ever in memory whole.
"""

import json
import math
import struct
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

import numpy as np
import torch
from safetensors import safe_open

from modelcollapse.data.sources import BadSource
from modelcollapse.data.text import Continued

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = "blocks.safetensors"
LINES_AT_ONCE = 2000
CHARACTERS_AT_ONCE = 2**20
"""Lines are tokenised together up to so many, and so many characters."""
SEAM = 2000
"""Characters on either side of a seam between parts of a line that are looked at."""


class Tokens(NamedTuple):
    """Tokens in the order of the text."""

    ids: np.ndarray
    """int32 [tokens]."""
    lengths: np.ndarray
    """UTF-8 bytes of the text behind each, int32 [tokens]; none where they were not asked for."""


# ---- text to tokens -------------------------------------------------------------------------------------------------


def tokenise(
    lines: Iterable[str], tokenizer: "PreTrainedTokenizerBase", line_start_token: bool, count_bytes: bool = False
) -> Iterator[Tokens]:
    """The tokens of all lines, one after the other, some at a time; the start token before each line if asked for.

    Parts of a line give the tokens of the line. With ``count_bytes`` the lengths of a line's tokens add up to the bytes
    of the line, whatever the tokenizer makes of it. Raises BadSource for parts that a tokenizer would join otherwise.
    """
    before = ""
    for some in _groups(lines):
        texts, befores = [], chain([before], some)
        for line, previous in zip(some, befores, strict=False):
            texts.append(_continuation(tokenizer, previous, line) if isinstance(line, Continued) else line)
        before = some[-1]
        encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=count_bytes)
        start = [
            None if isinstance(line, Continued) or not line_start_token else tokenizer.bos_token_id for line in some
        ]
        ids = chain.from_iterable(
            [*_given(first), *own] for first, own in zip(start, encoded["input_ids"], strict=True)
        )
        lengths: list[np.ndarray] = []
        if count_bytes:
            for first, line, text, offsets in zip(start, some, texts, encoded["offset_mapping"], strict=True):
                lengths.append(np.concatenate([np.zeros(len(_given(first))), _byte_lengths(line, text, offsets)]))
        yield Tokens(np.fromiter(ids, dtype=np.int32), np.concatenate(lengths or [np.empty(0)]).astype(np.int32))


def _given(token: int | None) -> list[int]:
    return [] if token is None else [token]


def _groups(lines: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    characters = 0
    for line in lines:
        group.append(line)
        characters += len(line)
        if len(group) == LINES_AT_ONCE or characters >= CHARACTERS_AT_ONCE:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _continuation(tokenizer: "PreTrainedTokenizerBase", before: str, part: Continued) -> str:
    """A part of a line such that its tokens follow those of the parts before as they do in the line.

    Tokenizers that put a blank before every text get it without its own.
    """

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    left, right = before[-SEAM:], part[:SEAM]
    left, right = left[left.find(" ") + 1 :], right[: right.rfind(" ") or None]
    whole, first = ids(left + right), ids(left)
    for blanks in (0, 1):
        if whole == first + ids(right[blanks:]):
            return part[blanks:]
    raise BadSource(
        f"a line of more than {len(before) + len(part)} characters cannot be tokenised in parts with this tokenizer: it"
        f" joins words, as in {left[-20:] + right[:20]!r}; break the line into shorter ones"
    )


def _byte_lengths(line: str, text: str, offsets: list[tuple[int, int]]) -> np.ndarray:
    """UTF-8 bytes of a line [tokens], divided among the tokens of its text by where each of them ends.

    What lies between two tokens belongs to the second, and what follows the last to it.
    """
    if not offsets:
        return np.empty(0)
    left_out = len(line) - len(text)
    ends = np.maximum.accumulate(np.array([end for _, end in offsets]) + left_out)
    ends[-1] = len(line)
    if not line.isascii():
        ends = np.concatenate([[0], np.cumsum([len(letter.encode()) for letter in line])])[ends]
    return np.diff(ends, prepend=0)


# ---- tokens to blocks -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Rows [first to last, length] of numbers that lie in a file, one row after the other."""

    file: BinaryIO
    length: int
    first: int
    last: int
    numbers: int
    """All numbers that were written, also those that make no whole row."""

    def __len__(self) -> int:
        return self.last - self.first

    def part(self, first: int, last: int) -> "Rows":
        """Some of these rows."""
        return Rows(self.file, self.length, self.first + first, self.first + last, self.numbers)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and their length."""
        return len(self), self.length

    @property
    def dtype(self) -> np.dtype[np.int32]:
        """Of the numbers."""
        return np.dtype(np.int32)

    def copy_to(self, file: BinaryIO) -> None:
        """Write the rows to another file."""
        row = self.length * self.dtype.itemsize
        self.file.seek(self.first * row)
        left = len(self) * row
        while left:
            chunk = self.file.read(min(left, COPIED_AT_ONCE))
            file.write(chunk)
            left -= len(chunk)


COPIED_AT_ONCE = 2**24


def cut(tokens: Iterator[Tokens], folder: Path, length: int, most: int | None = None) -> tuple[Rows, Rows]:
    """Consecutive blocks [blocks, length] and the lengths of their tokens; the remainder is dropped.

    No more tokens are taken than ``most`` blocks need. The blocks lie in files without a name in ``folder``.
    """
    files = [cast(BinaryIO, tempfile.TemporaryFile(dir=folder)) for _ in Tokens._fields]  # noqa: SIM115
    count = 0
    for some in tokens:
        for file, numbers in zip(files, some, strict=True):
            file.write(numbers.tobytes())
        count += len(some.ids)
        if most is not None and count >= most * length:
            break
    blocks = count // length if most is None else min(count // length, most)
    ids, lengths = (Rows(file, length, 0, blocks, count) for file in files)
    return ids, lengths


# ---- the file of a data artifact ------------------------------------------------------------------------------------


DTYPES = {"int32": "I32", "int64": "I64"}
"""NumPy's names of numbers, and those of safetensors."""


def write_blocks(folder: Path, **splits: np.ndarray | Rows) -> None:
    """Write named arrays of whole numbers to the folder's block file.

    As the safetensors library does, which wants all of them in memory.
    """
    ordered = sorted(splits.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header, offset = {}, 0
    for name, rows in ordered:
        size = math.prod(rows.shape) * rows.dtype.itemsize
        offsets = [offset, offset + size]
        header[name] = {"dtype": DTYPES[rows.dtype.name], "shape": list(rows.shape), "data_offsets": offsets}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with (folder / FILE).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, rows in ordered:
            if isinstance(rows, Rows):
                rows.copy_to(file)
            else:
                file.write(np.ascontiguousarray(rows).data)


def read_blocks(folder: Path, name: str) -> torch.Tensor:
    """One array of the folder's block file, memory-mapped."""
    with safe_open(folder / FILE, framework="pt") as file:
        return file.get_tensor(name)


def block_count(folder: Path, name: str) -> int:
    """Number of rows of an array, without reading it; none where there is no such array."""
    with safe_open(folder / FILE, framework="pt") as file:
        count: int = file.get_slice(name).get_shape()[0] if name in file.keys() else 0  # noqa: SIM118
        return count
