"""One text a prompt, a token at a time: drawn from the model's distribution, or the most probable one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from modelcollapse.decoding.native.forward import advance, read_prompts
from modelcollapse.decoding.native.history import Restrictions
from modelcollapse.decoding.native.key_value_slots import KeyValueSlots, Placement
from modelcollapse.decoding.native.network import Network
from modelcollapse.decoding.native.vocabulary import Vocabulary

Choice = Callable[[Tensor, Tensor], Tensor]
"""Tokens [rows] from logits [rows, vocabulary] and numbers between 0 and 1 [rows]."""
BYTES_PER_LOGIT = 48
"""Of a logit, its probability, their copies, and what it takes to sort or to add them up."""
FIRST_LOOK = 64
"""Tokens among which those of ``top_p`` are sought first on a CPU; four times as many where they are not enough."""


@dataclass(frozen=True)
class TokenByToken:
    """Continues prompts by choosing each token for good; see Writer."""

    network: Network
    vocabulary: Vocabulary
    restrictions: Restrictions
    choose: Choice
    new_tokens: int

    def slots_needed(self, length: int) -> int:
        """Slots of keys and values for a prompt of this length; the last token of a text has none."""
        return length + self.new_tokens - 1

    def step_bytes(self) -> int:
        """For logits and what is made of them, beside which the rest is little; see Writer."""
        return BYTES_PER_LOGIT * len(self.network.vocabulary)

    def texts(self, length: int, slots: KeyValueSlots) -> "ChosenTexts":
        """See Writer."""
        return ChosenTexts(self, length, slots)


class ChosenTexts:
    """Prompts with the tokens chosen so far; see Texts."""

    def __init__(self, writer: TokenByToken, length: int, slots: KeyValueSlots) -> None:
        self._writer, self._length, self._slots = writer, length, slots
        count, device = slots.size[0], slots.keys.device
        self._tokens = torch.zeros(count, length + writer.new_tokens, dtype=torch.int64, device=device)
        self._chance = torch.zeros(count, writer.new_tokens, dtype=torch.float64, device=device)
        self._places = torch.arange(slots.size[1], device=device).expand(count, -1)
        self._visible = torch.ones(count, 1, slots.size[1], dtype=torch.bool, device=device)

    def begin(self, prompts: Tensor, chance: Tensor) -> None:
        """See Texts."""
        self._tokens[:, : self._length].copy_(prompts)
        self._chance.copy_(chance)
        self._extend(read_prompts(self._writer.network, prompts, self._slots), 0)

    def step(self, number: int) -> None:
        """See Texts."""
        place = self._length + number - 1
        placement = Placement(self._places[:, place : place + 1], self._visible[:, :, : place + 1])
        self._extend(
            advance(self._writer.network, self._tokens[:, place : place + 1], place, self._slots, placement), number
        )

    def generated(self) -> Tensor:
        """See Texts."""
        return self._tokens[:, self._length :].clone()

    def _extend(self, outputs: Tensor, number: int) -> None:
        """Choose a token for every text by a network's outputs for it."""
        place = self._length + number
        logits = self._writer.vocabulary.logits(outputs)
        self._writer.restrictions.apply(logits, self._tokens[:, :place])
        self._tokens[:, place].copy_(self._writer.choose(logits, self._chance[:, number]))


def most_probable(logits: Tensor, chance: Tensor) -> Tensor:
    """The token with the largest logit; chance decides nothing."""
    return logits.argmax(1)


@dataclass(frozen=True)
class Cut:
    """Which tokens are drawn from; one cut after the other, each of what the others leave."""

    top_k: int = 0
    """Keeps the k most probable tokens; 0 keeps all. The tokens as probable as the last one stay too."""
    top_p: float = 1.0
    """Keeps the most probable tokens, each that has less than this probability before it, and those as probable."""
    min_p: float = 0.0
    """Keeps the tokens of at least this part of the largest probability."""
    typical_p: float = 1.0
    """Keeps the tokens of the most typical information, each that has less than this probability before it."""
    epsilon: float = 0.0
    """Keeps the tokens of at least this probability, and the most probable ones."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Probabilities [rows, vocabulary], or multiples of them, of what is kept, and 0 of the rest."""
        if 0 < self.top_k < logits.shape[1]:
            least = logits.topk(self.top_k, 1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        probabilities = logits.softmax(1)
        if self.top_p < 1:
            probabilities = probabilities.masked_fill(probabilities < least_kept(probabilities, self.top_p), 0)
        if self.min_p > 0:
            least = self.min_p * probabilities.amax(1, keepdim=True)
            probabilities = probabilities.masked_fill(probabilities < least, 0)
        if self.typical_p < 1:
            probabilities = _typical(probabilities / probabilities.sum(1, keepdim=True), self.typical_p)
        if self.epsilon > 0:
            probabilities = probabilities / probabilities.sum(1, keepdim=True)
            largest = probabilities.amax(1, keepdim=True)
            probabilities = probabilities.masked_fill(probabilities < largest.clamp(max=self.epsilon), 0)
        return probabilities


def _typical(probabilities: Tensor, mass: float) -> Tensor:
    """Probabilities of the tokens whose information, -log p, is nearest to the entropy, and 0 of the rest."""
    information = -probabilities.log()
    distance = (information - torch.special.entr(probabilities).sum(1, keepdim=True)).abs()
    order = distance.argsort(dim=1, stable=True)
    ordered = probabilities.gather(1, order)
    before = ordered.cumsum(1) - ordered
    return torch.zeros_like(probabilities).scatter(1, order, ordered.where(before < mass, 0))


@dataclass(frozen=True)
class Sampler:
    """Draws from the model's distribution, sharpened and cut."""

    temperature: float
    """Divides the logits."""
    cut: Cut
    """What is kept of the tokens."""

    def __call__(self, logits: Tensor, chance: Tensor) -> Tensor:
        """See Choice."""
        return draw(self.cut(logits / self.temperature), chance)


def least_kept(probabilities: Tensor, top_p: float) -> Tensor:
    """The smallest probability [rows, 1] that is kept: the last one, from above, with less than ``top_p`` before it."""
    all_there_are = probabilities.shape[1]
    # Whether these are enough is a question that a GPU would have to be waited for.
    looked_at = min(FIRST_LOOK, all_there_are) if probabilities.device.type == "cpu" else all_there_are
    while True:
        largest = probabilities.topk(looked_at, 1).values
        before = largest.cumsum(1) - largest
        if looked_at == all_there_are or bool((before[:, -1] >= top_p).all()):
            kept = (before < top_p).sum(1, keepdim=True)
            return largest.gather(1, kept - 1)
        looked_at = min(4 * looked_at, all_there_are)


def draw(weights: Tensor, chance: Tensor) -> Tensor:
    """A place [rows] in each row of weights [rows, places], as probable as its weight: the distribution inverted."""
    cumulative = weights.cumsum(1, dtype=torch.float64)
    target = chance[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=weights.shape[1] - 1)
