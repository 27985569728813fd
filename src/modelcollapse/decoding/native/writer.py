"""What the ways to continue prompts have in common, so that the engine can hold to any of them."""

from typing import Protocol

from torch import Tensor

from modelcollapse.decoding.native.key_value_slots import KeyValueSlots


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

    def written(self) -> Tensor:
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
