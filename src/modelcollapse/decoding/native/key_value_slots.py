"""Keys and values of every layer, in slots that are filled and overwritten but never moved."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modelcollapse.decoding.native.network import Network


@dataclass(frozen=True)
class Placement:
    """Where the keys and values of one step go, and what its beams look at."""

    slots: Tensor
    """A slot for the newest token of every beam [prompts, beams]."""
    visible: Tensor
    """Whether a beam looks at a slot [prompts, beams, slots in use]."""


class KeyValueSlots:
    """Keys and values [layers, prompts, key-value heads, slots, head size], zeroed.

    Zeroed because attention may multiply what is masked with 0: memory as it comes may hold NaN, which would survive.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values

    @classmethod
    def zeroed(cls, network: Network, prompts: int, slots: int) -> "KeyValueSlots":
        """Slots for some prompts under a network, in its type and on its device."""
        shape, weight = network.attention, network.vocabulary
        size = (len(network.layers), prompts, shape.key_value_heads, slots, shape.head_size)
        return cls(_zeros(size, weight), _zeros(size, weight))

    @property
    def size(self) -> tuple[int, int]:
        """Number of prompts and of slots."""
        return self.keys.shape[1], self.keys.shape[3]

    def first(self, prompts: int) -> "KeyValueSlots":
        """The slots of the first prompts."""
        return KeyValueSlots(self.keys[:, :prompts], self.values[:, :prompts])


def _zeros(size: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros in the type and on the device of a tensor; on a CPU, pages that are never written take no memory."""
    if like.device.type != "cpu":
        return like.new_zeros(size)
    untouched = np.zeros(math.prod(size) * like.element_size(), np.uint8)
    return torch.from_numpy(untouched).view(like.dtype).view(size)


def bytes_per_slot(network: Network) -> int:
    """Memory for the keys and values of a token in all layers."""
    shape = network.attention
    return 2 * len(network.layers) * shape.key_value_heads * shape.head_size * network.vocabulary.element_size()
