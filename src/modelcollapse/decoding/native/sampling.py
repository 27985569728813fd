"""One text a prompt, a token at a time: drawn from the model's distribution, or the most probable one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from modelcollapse.decoding.native.forward import advance, prompt_bytes, read_prompts
from modelcollapse.decoding.native.history import Restrictions
from modelcollapse.decoding.native.key_value_slots import KeyValueSlots, Placement
from modelcollapse.decoding.native.network import Network
from modelcollapse.decoding.native.vocabulary import Vocabulary

Choice = Callable[[Tensor, Tensor], Tensor]
"""Tokens [rows] from logits [rows, vocabulary] and numbers between 0 and 1 [rows]."""
BYTES_PER_LOGIT = 32
"""Of a logit, its probability, their copies, and their sums in float64."""
FIRST_LOOK = 64
"""Tokens among which those of ``top_p`` are sought first; four times as many where they are not enough."""


class TokenByToken:
    """Continues prompts by choosing each token for good."""

    def __init__(
        self, network: Network, vocabulary: Vocabulary, restrictions: Restrictions, choose: Choice, new_tokens: int
    ) -> None:
        self._network, self._vocabulary, self._restrictions = network, vocabulary, restrictions
        self._choose, self._new_tokens = choose, new_tokens

    def slots_needed(self, length: int) -> int:
        """Slots of keys and values for a prompt of this length; the last token of a text has none."""
        return length + self._new_tokens - 1

    def scratch_bytes(self, length: int) -> int:
        """Memory for a prompt beside its keys and values, logits and what is made of them included; see Writer."""
        return max(prompt_bytes(self._network, length), BYTES_PER_LOGIT * len(self._network.vocabulary))

    def continue_prompts(self, prompts: Tensor, slots: KeyValueSlots, chance: Tensor) -> Tensor:
        """New tokens [prompts, new tokens] after prompts [prompts, length]; see Writer."""
        length = prompts.shape[1]
        tokens = torch.cat([prompts, prompts.new_zeros(len(prompts), self._new_tokens)], 1)
        places = torch.arange(tokens.shape[1], device=prompts.device).expand(len(prompts), -1)
        visible = torch.ones_like(tokens, dtype=torch.bool)[:, None]
        outputs = read_prompts(self._network, prompts, slots)
        for step, place in enumerate(range(length, tokens.shape[1])):
            if step > 0:
                placement = Placement(places[:, place - 1 : place], visible[:, :, :place])
                outputs = advance(self._network, tokens[:, place - 1 : place], place - 1, slots, placement)
            logits = self._vocabulary.logits(outputs)
            self._restrictions.apply(logits, tokens[:, :place])
            tokens[:, place] = self._choose(logits, chance[:, step])
        return tokens[:, length:]


def most_probable(logits: Tensor, chance: Tensor) -> Tensor:
    """The token with the largest logit; chance decides nothing."""
    return logits.argmax(1)


@dataclass(frozen=True)
class Sampler:
    """Draws from the model's distribution, sharpened and cut."""

    temperature: float
    """Divides the logits."""
    top_k: int
    """Keeps the k most probable tokens; 0 keeps all. The tokens as probable as the last one stay too."""
    top_p: float
    """Keeps the most probable tokens, each that has less than this probability before it, and those as probable."""

    def __call__(self, logits: Tensor, chance: Tensor) -> Tensor:
        """See Choice."""
        logits = logits / self.temperature
        if 0 < self.top_k < logits.shape[1]:
            least = logits.topk(self.top_k, 1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        probabilities = logits.softmax(1)
        if self.top_p < 1:
            probabilities = probabilities.where(probabilities >= least_kept(probabilities, self.top_p), 0)
        return draw(probabilities, chance)


def least_kept(probabilities: Tensor, top_p: float) -> Tensor:
    """The smallest probability [rows, 1] that is kept: the last one, from above, with less than ``top_p`` before it."""
    looked_at = min(FIRST_LOOK, probabilities.shape[1])
    while True:
        largest = probabilities.topk(looked_at, 1).values
        before = largest.cumsum(1) - largest
        if looked_at == probabilities.shape[1] or bool((before[:, -1] >= top_p).all()):
            kept = (before < top_p).sum(1, keepdim=True)
            return largest.gather(1, kept - 1)
        looked_at = min(4 * looked_at, probabilities.shape[1])


def draw(weights: Tensor, chance: Tensor) -> Tensor:
    """A place [rows] in each row of weights [rows, places], as probable as its weight: the distribution inverted."""
    cumulative = weights.cumsum(1, dtype=torch.float64)
    target = chance[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=weights.shape[1] - 1)
