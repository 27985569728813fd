"""How GPT-2 computes (Radford et al. 2019): as OPT, with its projections joined already and transposed."""

from collections.abc import Iterable, Sequence
from typing import cast

from torch import Tensor
from transformers import GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.pytorch_utils import Conv1D

from modelcollapse.decoding.native.linear import Linear
from modelcollapse.decoding.native.network import AttentionShape, Layer


class GPT2Network:
    """GPT-2 of any size; see Network."""

    def __init__(self, source: GPT2LMHeadModel, rows: int) -> None:
        """Weights laid out for about ``rows`` rows at a time."""
        decoder, config = source.transformer, source.config
        shape = AttentionShape(config.n_head, config.n_head, config.n_embd // config.n_head)
        self.attention = shape
        blocks = cast(Iterable[GPT2Block], decoder.h)
        self.layers: Sequence[Layer] = [GPT2Layer(block, shape, config.activation_function, rows) for block in blocks]
        self.vocabulary = source.lm_head.weight.detach()
        self._words, self._positions, self._norm = decoder.wte, decoder.wpe, decoder.ln_f

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Word and position embeddings, added; see Network."""
        embedded: Tensor = self._words(tokens) + self._positions(positions)
        return embedded

    def output(self, hidden: Tensor) -> Tensor:
        """The last norm; see Network."""
        output: Tensor = self._norm(hidden)
        return output


class GPT2Layer:
    """Self-attention and a feed-forward block, a norm before each; see Layer."""

    def __init__(self, source: GPT2Block, shape: AttentionShape, activation: str, rows: int) -> None:
        self._shape, self._activation, self._scale = shape, activation, source.attn.scaling
        self._attention_norm, self._inner_norm = source.ln_1, source.ln_2
        self._queries_keys_values = _linear(source.attn.c_attn, rows)
        self._attention_output = _linear(source.attn.c_proj, rows)
        self._inner, self._outer = _linear(source.mlp.c_fc, rows), _linear(source.mlp.c_proj, rows)

    def project(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All three in one multiplication; the positions are in the embeddings already; see Layer."""
        joined = self._queries_keys_values(self._attention_norm(hidden))
        queries, keys, values = joined.view(len(hidden), 3, self._shape.heads, self._shape.head_size).unbind(1)
        return queries * self._scale, keys, values

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """See Layer."""
        hidden = self._attention_output.added_to(hidden, attended)
        inner = self._inner.activated(self._inner_norm(hidden), self._activation)
        return self._outer.added_to(hidden, inner)


def _linear(source: Conv1D, rows: int) -> Linear:
    return Linear(source.weight.T, source.bias, rows)
