"""The search for the best next tokens, as logits come in chunk by chunk."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from modelcollapse.decoding.native import kernels

BLOCK = kernels.BLOCK
"""Tokens whose maximum stands for them while the best are sought; chunks are whole blocks."""


@dataclass(frozen=True)
class Found:
    """What a search has found in every row."""

    logits: Tensor
    """The largest [rows, count], largest first, of tokens that are neither forbidden nor seen."""
    tokens: Tensor
    """Whose they are [rows, count]."""
    seen_logits: Tensor
    """Of the tokens that a row has seen [rows, length]; at their first occurrences at least."""
    normaliser: Tensor
    """Logarithm of the sum of the exponentials of all logits [rows, 1]."""


class Search(Protocol):
    """A search in progress."""

    def take(self, logits: Tensor, start: int) -> None:
        """Look at the logits of the tokens from ``start`` on; they may be changed.

        Logits [rows, whole blocks], in the order of the tokens; the last column is minus infinity and no token's.
        """
        ...

    def found(self) -> Found:
        """What was found in all that was taken."""
        ...


def new_search(count: int, seen: Tensor, forbidden: Tensor) -> Search:
    """A search for the ``count`` best tokens of every row: compiled on CPUs, by torch elsewhere.

    ``seen`` [rows, length]: tokens that count apart. ``forbidden`` [number]: tokens that do not count.
    """
    return (CompiledSearch if seen.device.type == "cpu" else TorchSearch)(count, seen, forbidden)


class TorchSearch:
    """By torch's operators; see Search."""

    def __init__(self, count: int, seen: Tensor, forbidden: Tensor) -> None:
        self._count, self._seen, self._forbidden = count, seen, forbidden.expand(len(seen), -1)
        self._seen_logits = torch.full(seen.shape, -torch.inf, device=seen.device)
        self._normalisers: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._tokens: list[Tensor] = []

    def take(self, logits: Tensor, start: int) -> None:
        """See Search."""
        self._normalisers.append(logits.logsumexp(1))
        self._take_out(logits, self._forbidden - start)
        self._seen_logits = torch.maximum(self._seen_logits, self._take_out(logits, self._seen - start))
        values, places = largest(logits, self._count)
        self._logits.append(values)
        self._tokens.append(places + start)

    def _take_out(self, logits: Tensor, places: Tensor) -> Tensor:
        """The logits at places [rows, number], which leave minus infinity; minus infinity for places elsewhere."""
        spare = logits.shape[1] - 1
        places = places.masked_fill((places < 0) | (places >= spare), spare)
        values = logits.gather(1, places)
        logits.scatter_(1, places, -torch.inf)
        return values

    def found(self) -> Found:
        """See Search."""
        logits, order = torch.cat(self._logits, 1).topk(self._count, 1)
        tokens = torch.cat(self._tokens, 1).gather(1, order)
        normaliser = torch.stack(self._normalisers, 1).logsumexp(1, keepdim=True)
        return Found(logits, tokens, self._seen_logits, normaliser)


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest of each row, largest first, and where they are; rows are whole blocks.

    What is sought lies in the blocks with the largest maxima, so that only those are searched.
    """
    rows, width = values.shape
    if count * BLOCK >= width:
        return values.topk(min(count, width), 1)
    blocks = values.view(rows, width // BLOCK, BLOCK)
    chosen = blocks.amax(2).topk(count, 1, sorted=False).indices
    candidates = blocks.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    found, places = candidates.topk(count, 1)
    return found, chosen.gather(1, places // BLOCK) * BLOCK + places % BLOCK


class CompiledSearch:
    """By a loop that stays in the processor's cache; see Search."""

    def __init__(self, count: int, seen: Tensor, forbidden: Tensor) -> None:
        rows = len(seen)
        self._seen, self._forbidden = seen.contiguous(), forbidden
        self._seen_logits = torch.full(seen.shape, -torch.inf)
        self._largest, self._totals = torch.full((rows,), -torch.inf), torch.zeros(rows)
        self._logits, self._tokens = torch.full((rows, count), -torch.inf), torch.zeros(rows, count, dtype=torch.int64)

    def take(self, logits: Tensor, start: int) -> None:
        """See Search."""
        kernels.search(
            logits.numpy(),
            start,
            self._forbidden.numpy(),
            self._seen.numpy(),
            self._seen_logits.numpy(),
            self._largest.numpy(),
            self._totals.numpy(),
            self._logits.numpy(),
            self._tokens.numpy(),
        )

    def found(self) -> Found:
        """See Search."""
        normaliser = (self._largest + self._totals.log())[:, None]
        return Found(self._logits, self._tokens, self._seen_logits, normaliser)
