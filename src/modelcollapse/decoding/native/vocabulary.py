"""Scores of the next token over the whole vocabulary, a chunk of it at a time."""

import torch
from torch import Tensor
from torch.nn import functional

from modelcollapse.decoding.native.history import Past, Restrictions
from modelcollapse.decoding.native.linear import Linear
from modelcollapse.decoding.native.search import BLOCK, new_search

CPU_CHUNK_BYTES, GPU_CHUNK_BYTES = 8 * 2**20, 512 * 2**20
"""Logits of one chunk: what a processor's cache holds, and what a GPU can spare."""
BYTES_PER_LOGIT = 10
"""In bfloat16, in float32, and its exponential."""


class Vocabulary:
    """The weight that makes logits of a network's output, cut into chunks."""

    def __init__(self, weight: Tensor, rows: int, restrictions: Restrictions) -> None:
        """``weight`` [tokens, width]; ``rows``: how many rows of outputs to expect at once."""
        self._size, self._restrictions = len(weight), restrictions
        self._forbidden = torch.tensor(restrictions.forbidden, dtype=torch.int64, device=weight.device)
        width = chunk_width(len(weight), rows, weight.device)
        self.bytes_per_row = BYTES_PER_LOGIT * width if weight.device.type == "cuda" else 0
        """Memory that `best` takes for a row, about; on a CPU a cache holds it."""
        self._chunks = [Chunk(part, number * width, rows) for number, part in enumerate(weight.split(width))]

    def logits(self, outputs: Tensor) -> Tensor:
        """Logits [rows, tokens], float32, of a network's outputs [rows, width]."""
        return torch.cat([chunk.logits(outputs)[:, : chunk.size] for chunk in self._chunks], 1)

    def best(self, outputs: Tensor, count: int, past: Past) -> tuple[Tensor, Tensor]:
        """The ``count`` best next tokens of each row under the restrictions: log-probabilities and tokens, best first.

        Probabilities are normalised before restrictions apply, as in transformers. No more logits than a chunk's are
        ever there: tokens that a row holds already are taken out of their chunk, and come back for what they are worth.
        """
        look_back = self._restrictions.look_back
        seen = past.tokens if look_back else self._forbidden.new_empty(len(outputs), 0)
        search = new_search(count, seen, self._forbidden)
        for chunk in self._chunks:
            search.take(chunk.logits(outputs), chunk.start)
        found = search.found()
        values, tokens = found.logits - found.normaliser, found.tokens
        if look_back:
            adjusted = self._restrictions.adjusted(found.seen_logits - found.normaliser, seen)
            adjusted = adjusted.masked_fill(~past.distinct, -torch.inf)
            values, order = torch.cat([values, adjusted], 1).topk(count, 1)
            tokens = torch.cat([tokens, seen], 1).gather(1, order)
        return values, tokens.clamp(max=self._size - 1)


def chunk_width(tokens: int, rows: int, device: torch.device) -> int:
    """Tokens of a chunk: chunks of equal size, each one token short of whole blocks."""
    most = (CPU_CHUNK_BYTES if device.type == "cpu" else GPU_CHUNK_BYTES) // (4 * rows)
    chunks = -(-tokens // max(most, BLOCK))
    blocks = tokens // (chunks * BLOCK) + 1
    return blocks * BLOCK - 1


class Chunk:
    """Part of a vocabulary. After its tokens come columns of minus infinity, one at least, to fill the last block."""

    def __init__(self, weight: Tensor, start: int, rows: int) -> None:
        self.start, self.size = start, len(weight)
        padding = BLOCK - len(weight) % BLOCK
        bias = functional.pad(weight.new_zeros(self.size), (0, padding), value=-torch.inf)
        self._linear = Linear(functional.pad(weight, (0, 0, 0, padding)), bias, rows)

    def logits(self, outputs: Tensor) -> Tensor:
        """Logits [rows, tokens and padding], float32."""
        return self._linear(outputs).float()
