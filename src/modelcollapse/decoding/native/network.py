"""The interface between the engine and a network; one file in `architectures` a kind of network.

Rows are positions of sequences, flattened: the engine decides what they belong to, a network computes them. Attention
is the engine's, all else the network's. Order is given by the positions alone, in the embeddings or in queries and
keys, so that keys and values may lie in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Layer(Protocol):
    """One layer, cut in two where attention comes between."""

    def project(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [rows, heads, size], keys and values [rows, key-value heads, size] of hidden [rows, width].

        The scale of the dot products is in the queries already.
        """
        ...

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """The layer's output [rows, width] from its input and what attention gives [rows, heads x size]."""
        ...


@dataclass(frozen=True)
class AttentionShape:
    """Sizes that keys and values are laid out by."""

    heads: int
    key_value_heads: int
    """Fewer than heads where groups of them share keys and values."""
    head_size: int


class Network(Protocol):
    """A network that gives the next token's scores, in the type and on the device that it was built for."""

    attention: AttentionShape
    layers: Sequence[Layer]
    vocabulary: Tensor
    """Weight [tokens, output width] that the scores of the next token are made with."""

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """What enters the first layer [rows, width], of tokens [rows] and their positions [rows], from 0."""
        ...

    def output(self, hidden: Tensor) -> Tensor:
        """What the vocabulary's weight is multiplied with [rows, output width], of the last layer's output."""
        ...
