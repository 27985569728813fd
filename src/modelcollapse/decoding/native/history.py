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
        scores[:, list(self.forbidden)] = -torch.inf


def completes_ngram(tokens: Tensor, size: int) -> Tensor:
    """Whether each of the tokens [rows, length], written next, would complete an n-gram that its row already holds."""
    length = tokens.shape[1]
    ends_ngram = torch.zeros_like(tokens, dtype=torch.bool)
    windows = tokens.unfold(1, size, 1)[:, :, :-1]
    ends_ngram[:, size - 1 :] = (windows == tokens[:, None, length - size + 1 :]).all(2)
    same_token = tokens[:, :, None] == tokens[:, None, :]
    return (same_token & ends_ngram[:, None, :]).any(2)


class History:
    """Tokens [prompts, beams, length] of every beam, prompt included; at first each prompt has one beam."""

    def __init__(self, prompts: Tensor, new_tokens: int, restrictions: Restrictions) -> None:
        count, self.length = prompts.shape
        self._look_back = restrictions.look_back
        self._tokens = prompts.new_zeros(count, 1, self.length + new_tokens)
        self._tokens[:, 0, : self.length] = prompts
        self._distinct = torch.zeros_like(self._tokens, dtype=torch.bool)
        if self._look_back:
            earlier = (prompts[:, :, None] == prompts[:, None, :]).tril(-1).any(2)
            for token in restrictions.forbidden:
                earlier |= prompts == token
            self._distinct[:, 0, : self.length] = ~earlier

    def extend(self, parents: Tensor, tokens: Tensor) -> None:
        """Make the beams children of the earlier beams ``parents`` with one token more, both [prompts, beams]."""
        parents = parents[:, :, None].expand(-1, -1, self._tokens.shape[2])
        self._tokens = self._tokens.gather(1, parents)
        if self._look_back:
            self._distinct = self._distinct.gather(1, parents)
            seen = (self._tokens[:, :, : self.length] == tokens[:, :, None]).any(2)
            self._distinct[:, :, self.length] = ~seen
        self._tokens[:, :, self.length] = tokens
        self.length += 1

    @property
    def tokens(self) -> Tensor:
        """All tokens so far [prompts, beams, length]."""
        return self._tokens[:, :, : self.length]

    @property
    def distinct(self) -> Tensor:
        """Of each token that may be written again one occurrence, the first [prompts, beams, length]."""
        return self._distinct[:, :, : self.length]
