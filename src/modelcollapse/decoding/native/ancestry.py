"""Which slots each beam descends from, and which can be written over.

Transformers reorders the keys and values of all layers at every step, so that each beam has its ancestors' in a row.
Here they stay where they are, and only this table, a bit per beam and slot, follows the beams.
"""

import torch
from torch import Tensor

from modelcollapse.decoding.native.key_value_slots import Placement


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
