"""Beam search to a fixed length, as transformers does it.

Every step extends each beam by each token, and the best of all these, by the sum of their tokens' log-probabilities,
are the beams of the next step. No text ends early, so that the length penalty, which divides all sums alike, decides
nothing.
"""

import torch
from torch import Tensor

from modelcollapse.decoding.native.ancestry import Ancestry
from modelcollapse.decoding.native.forward import advance, prompt_bytes, read_prompts
from modelcollapse.decoding.native.history import History, Restrictions
from modelcollapse.decoding.native.key_value_slots import KeyValueSlots
from modelcollapse.decoding.native.network import Network
from modelcollapse.decoding.native.vocabulary import Vocabulary


class BeamSearch:
    """Continues prompts by the best of some beams."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        restrictions: Restrictions,
        beams: int,
        new_tokens: int,
        recycle: bool,
    ) -> None:
        """``recycle`` as in Ancestry."""
        self._network, self._vocabulary, self._restrictions = network, vocabulary, restrictions
        self._beams, self._new_tokens, self._recycle = beams, new_tokens, recycle

    def slots_needed(self, length: int) -> int:
        """Slots of keys and values for a prompt of this length; the last token of a text has none."""
        return length + self._beams * (self._new_tokens - 1)

    def scratch_bytes(self, length: int) -> int:
        """Memory for a prompt beside its keys and values; see Writer."""
        return max(prompt_bytes(self._network, length), self._beams * prompt_bytes(self._network, 1))

    def continue_prompts(self, prompts: Tensor, slots: KeyValueSlots, chance: Tensor) -> Tensor:
        """The best continuations [prompts, new tokens] of prompts [prompts, length], without chance; see Writer."""
        count, length = prompts.shape
        history = History(prompts, self._new_tokens, self._restrictions)
        ancestry = Ancestry(count, length, self.slots_needed(length), self._recycle, prompts.device)
        scores = torch.zeros(count, 1, device=prompts.device)
        outputs = read_prompts(self._network, prompts, slots)
        for step in range(self._new_tokens):
            if step > 0:
                newest = history.tokens[:, :, -1]
                outputs = advance(self._network, newest, length + step - 1, slots, ancestry.place())
            scores, parents, tokens = self._choose(outputs, scores, history)
            history.extend(parents, tokens)
            ancestry.follow(parents)
        return history.tokens[:, 0, length:]

    def _choose(self, outputs: Tensor, scores: Tensor, history: History) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, parents and newest tokens of the next beams, each [prompts, beams], best first."""
        values, tokens = self._vocabulary.best(outputs, self._beams, history)
        totals = (scores.view(-1, 1) + values).view(len(scores), -1)
        scores, chosen = totals.topk(self._beams, 1)
        parents = chosen // self._beams
        return scores, parents, tokens.view(len(scores), -1).gather(1, chosen)
