"""The tokens of every beam so far, and what they forbid or make dear."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Restrictions:
    """What is forbidden or made dear, as transformers' logits processors of the same names do it."""

    repetition_penalty: float
    no_repeat_ngram: int
    forbidden: tuple[int, ...]
    """Tokens that are never written: those that end a text."""

    @property
    def look_back(self) -> bool:
        """Whether anything depends on the tokens so far."""
        return self.repetition_penalty != 1 or self.no_repeat_ngram > 0

    def adjusted(self, scores: Tensor, tokens: Tensor) -> Tensor:
        """Scores [rows, length] of tokens [rows, length] that the rows hold already; the forbidden ones not counted.

        The penalty divides positive scores and multiplies negative ones. A token that would complete an n-gram for the
        second time gets minus infinity.
        """
        penalty = self.repetition_penalty
        scores = torch.where(scores < 0, scores * penalty, scores / penalty)
        if 0 < self.no_repeat_ngram <= tokens.shape[1]:
            scores = scores.masked_fill(completes_ngram(tokens, self.no_repeat_ngram), -torch.inf)
        return scores

    def apply(self, scores: Tensor, tokens: Tensor) -> None:
        """Change scores [rows, vocabulary] in place for rows that hold tokens [rows, length]."""
        if self.look_back:
            scores.scatter_(1, tokens, self.adjusted(scores.gather(1, tokens), tokens))
        for token in self.forbidden:
            # A list of tokens would be copied to the device, which must be waited for.
            scores[:, token].fill_(-torch.inf)


def completes_ngram(tokens: Tensor, size: int) -> Tensor:
    """Whether each of the tokens [rows, length], written next, would complete an n-gram that its row already holds."""
    length = tokens.shape[1]
    ends_ngram = torch.zeros_like(tokens, dtype=torch.bool)
    windows = tokens.unfold(1, size, 1)[:, :, :-1]
    ends_ngram[:, size - 1 :] = (windows == tokens[:, None, length - size + 1 :]).all(2)
    same_token = tokens[:, :, None] == tokens[:, None, :]
    return (same_token & ends_ngram[:, None, :]).any(2)


@dataclass(frozen=True)
class Past:
    """The tokens that rows hold so far."""

    tokens: Tensor
    """[rows, length]."""
    distinct: Tensor
    """Of each token that may be written again one occurrence, the first [rows, length]; only where it matters."""


class History:
    """Tokens [prompts, beams, length] of every beam, prompt included."""

    def __init__(
        self, prompts: int, beams: int, length: int, new_tokens: int, restrictions: Restrictions, device: torch.device
    ) -> None:
        """Room for ``new_tokens`` after prompts of ``length`` tokens."""
        self._length, self._restrictions = length, restrictions
        self.tokens = torch.zeros(prompts, beams, length + new_tokens, dtype=torch.int64, device=device)
        """What is not written yet is 0, or left from an earlier batch."""
        self._distinct = torch.zeros_like(self.tokens, dtype=torch.bool)

    def begin(self, prompts: Tensor) -> None:
        """Let every beam hold its prompt of prompts [prompts, length] and nothing else."""
        self.tokens[:, :, : self._length].copy_(prompts[:, None].expand(-1, self.tokens.shape[1], -1))
        if self._restrictions.look_back:
            earlier = (prompts[:, :, None] == prompts[:, None, :]).tril(-1).any(2)
            for token in self._restrictions.forbidden:
                earlier |= prompts == token
            self._distinct[:, :, : self._length].copy_(~earlier[:, None].expand(-1, self.tokens.shape[1], -1))

    def extend(self, parents: Tensor, tokens: Tensor, length: int) -> None:
        """Make the beams children of the earlier beams ``parents``, ``length`` tokens long, with one token more.

        Both [prompts, beams].
        """
        past = self.tokens[:, :, :length]
        parents = parents[:, :, None].expand_as(past)
        past.copy_(past.gather(1, parents))
        if self._restrictions.look_back:
            distinct = self._distinct[:, :, :length]
            distinct.copy_(distinct.gather(1, parents))
            self._distinct[:, :, length].copy_(~(past == tokens[:, :, None]).any(2))
        self.tokens[:, :, length].copy_(tokens)

    def newest(self, length: int) -> Tensor:
        """The last of the first ``length`` tokens [prompts, beams]."""
        return self.tokens[:, :, length - 1]

    def past(self, length: int, beams: int) -> Past:
        """The first ``length`` tokens of the first ``beams`` beams of all prompts, a beam a row."""
        return Past(*(each[:, :beams, :length].flatten(0, 1) for each in (self.tokens, self._distinct)))
