"""Beam search to a fixed length, as transformers does it.

Every step extends each beam by each token, and the best of all these, by the sum of their tokens' log-probabilities,
are the beams of the next step. No text ends early, so that the length penalty, which divides all sums alike, decides
nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from modelcollapse.decoding.native.forward import advance, prompt_bytes, read_prompts
from modelcollapse.decoding.native.history import History, Restrictions
from modelcollapse.decoding.native.key_value_slots import Ancestry, KeyValueSlots
from modelcollapse.decoding.native.network import Network
from modelcollapse.decoding.native.vocabulary import Vocabulary


@dataclass(frozen=True)
class BeamSearch:
    """Continues prompts by the best of some beams; see Writer."""

    network: Network
    vocabulary: Vocabulary
    restrictions: Restrictions
    beams: int
    new_tokens: int
    recycle: bool
    """As in Ancestry."""

    def slots_needed(self, length: int) -> int:
        """Slots of keys and values for a prompt of this length; the last token of a text has none."""
        return length + self.beams * (self.new_tokens - 1)

    def step_bytes(self) -> int:
        """See Writer."""
        return self.beams * (prompt_bytes(self.network, 1) + self.vocabulary.bytes_per_row)

    def texts(self, length: int, slots: KeyValueSlots) -> "BeamSearchedTexts":
        """See Writer."""
        return BeamSearchedTexts(self, length, slots)


class BeamSearchedTexts:
    """Prompts and their beams; see Texts."""

    def __init__(self, search: BeamSearch, length: int, slots: KeyValueSlots) -> None:
        self._search, self._length, self._slots = search, length, slots
        count, device = slots.size[0], slots.keys.device
        self._history = History(count, search.beams, length, search.new_tokens, search.restrictions, device)
        self._ancestry = Ancestry(count, search.beams, length, slots.size[1], search.recycle, device)
        self._scores = torch.zeros(count, search.beams, device=device)

    def begin(self, prompts: Tensor, chance: Tensor) -> None:
        """Let each prompt have one beam, and then its best continuations; without chance; see Texts."""
        self._history.begin(prompts)
        self._ancestry.begin()
        self._scores.zero_()
        self._extend(read_prompts(self._search.network, prompts, self._slots), 0, beams=1)

    def step(self, number: int) -> None:
        """See Texts."""
        length = self._length + number
        newest, placement = self._history.newest(length), self._ancestry.place(number)
        outputs = advance(self._search.network, newest, length - 1, self._slots, placement)
        self._extend(outputs, number, self._search.beams)

    def generated(self) -> Tensor:
        """The best beam's; see Texts."""
        return self._history.tokens[:, 0, self._length :].clone()

    def _extend(self, outputs: Tensor, number: int, beams: int) -> None:
        """Make the best extensions of the first ``beams`` beams, by a network's outputs for them, the beams."""
        length, count = self._length + number, len(self._scores)
        past = self._history.past(length, beams)
        values, tokens = self._search.vocabulary.best(outputs, self._search.beams, past)
        totals = (self._scores[:, :beams].reshape(-1, 1) + values).view(count, -1)
        scores, chosen = totals.topk(self._search.beams, 1)
        parents = chosen // self._search.beams
        self._scores.copy_(scores)
        self._history.extend(parents, tokens.view(count, -1).gather(1, chosen), length)
        self._ancestry.follow(parents)
