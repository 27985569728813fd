"""Keys and values of every layer, in slots that are filled and overwritten but never moved."""

import math
from dataclasses import dataclass
from typing import Protocol

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


class Ancestry:
    """A bit for every prompt, beam and slot: whether the slot holds a token of the beam's own text.

    With ``recycle``, what no living beam descends from is written over: of the slots of all beams at all steps, late in
    a sequence a quarter to a third are alive. It needs the highest slot in use, a number that a GPU would have to be
    waited for; without ``recycle`` every step has slots of its own, and all sizes follow from its number.
    """

    def __init__(self, prompts: int, beams: int, length: int, slots: int, recycle: bool, device: torch.device) -> None:
        """The prompts' own ``length`` tokens are in the first slots."""
        self._table = torch.zeros(prompts, beams, slots, dtype=torch.bool, device=device)
        self._length, self._used, self._recycle = length, length, recycle

    def begin(self) -> None:
        """Let all beams descend from their prompt and nothing else."""
        self._table.zero_()
        self._table[:, :, : self._length].fill_(True)
        self._used = self._length

    def follow(self, parents: Tensor) -> None:
        """Let the beams be the children of the earlier beams ``parents`` [prompts, beams]."""
        in_use = self._table[:, :, : self._used]
        in_use.copy_(in_use.gather(1, parents[:, :, None].expand_as(in_use)))

    def place(self, step: int) -> Placement:
        """A slot for the newest token of every beam, and the slots that it looks at; steps count from 1."""
        prompts, beams, _ = self._table.shape
        if self._recycle:
            slots = self._free_slots(beams)
            self._used = max(self._used, int(slots.max()) + 1)
        else:
            self._used = self._length + step * beams
            slots = torch.arange(self._used - beams, self._used, device=self._table.device).expand(prompts, -1)
        self._table.scatter_(2, slots[:, :, None], True)
        return Placement(slots, self._table[:, :, : self._used])

    def _free_slots(self, count: int) -> Tensor:
        """The first slots [prompts, count] that no beam descends from."""
        alive = self._table.any(1).to(torch.uint8)
        return alive.argsort(dim=1, stable=True)[:, :count]


class Texts(Protocol):
    """Prompts of one number and length on their way to texts, one batch of them after another.

    What a step reads and changes is in tensors that stay where they are, and all sizes follow from its number, unless
    slots are recycled (see Ancestry): a step that was recorded for one batch is right for every other.
    """

    def begin(self, prompts: Tensor, chance: Tensor) -> None:
        """Read prompts [prompts, length], and choose the first new token of each.

        ``chance``: numbers between 0 and 1 [prompts, new tokens], float64, that decide what chance decides.
        """
        ...

    def step(self, number: int) -> None:
        """Choose the new tokens of one number, from 1 on, after those with the numbers before it."""
        ...

    def generated(self) -> Tensor:
        """The new tokens [prompts, new tokens], as a tensor of their own."""
        ...


class Writer(Protocol):
    """A way to continue prompts."""

    def slots_needed(self, length: int) -> int:
        """Slots of keys and values for a prompt of ``length`` tokens."""
        ...

    def step_bytes(self) -> int:
        """Memory that a step takes for a prompt beside its keys and values, about."""
        ...

    def texts(self, length: int, slots: KeyValueSlots) -> Texts:
        """Room for as many prompts of ``length`` tokens as there are slots for."""
        ...
