"""A reward of texts: how long they are."""

from collections.abc import Sequence
from typing import Literal

import torch


class TextLength:
    """How many characters or words a text has, so that long ones are kept.

    Blocks are of a fixed number of tokens, so that texts differ in characters, and in words where a token may be a part
    of one.
    """

    def __init__(self, unit: Literal["characters", "words"]) -> None:
        self._unit = unit

    def __call__(self, candidates: torch.Tensor, *, texts: Sequence[str]) -> torch.Tensor:
        """Scores [rows]; words are parted by blanks."""
        counted = texts if self._unit == "characters" else [text.split() for text in texts]
        return torch.tensor([len(each) for each in counted], dtype=torch.float64)
