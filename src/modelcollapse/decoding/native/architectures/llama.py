"""How Llama computes (Touvron et al. 2023): rotated queries and keys, which heads may share, and gated blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, rotate_half

from modelcollapse.decoding.native.linear import Linear
from modelcollapse.decoding.native.network import AttentionShape, Layer


class Rotation:
    """Turns queries and keys by angles that grow with their positions (Su et al. 2021)."""

    def __init__(self, source: LlamaForCausalLM) -> None:
        positions = torch.arange(source.config.max_position_embeddings, device=source.device)
        cosines, sines = source.model.rotary_emb(source.lm_head.weight, positions[None])
        self._cosines, self._sines = cosines[0], sines[0]

    def __call__(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Vectors [rows, heads, size] turned by the angles of their positions [rows]."""
        turned: Tensor = vectors * self._cosines[positions, None] + rotate_half(vectors) * self._sines[positions, None]
        return turned


class LlamaNetwork:
    """Llama of any size; see Network."""

    def __init__(self, source: LlamaForCausalLM, rows: int) -> None:
        """Weights laid out for about ``rows`` rows at a time."""
        decoder, config = source.model, source.config
        own = decoder.layers[0].self_attn
        heads, shared = config.num_attention_heads, config.num_attention_heads // own.num_key_value_groups
        self.attention = AttentionShape(heads, shared, own.head_dim)
        rotation = Rotation(source)
        self.layers: Sequence[Layer] = [
            LlamaLayer(layer, self.attention, rotation, config.hidden_act, rows) for layer in decoder.layers
        ]
        self.vocabulary = source.lm_head.weight.detach()
        self._words, self._norm = decoder.embed_tokens, decoder.norm

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Word embeddings alone; see Network."""
        embedded: Tensor = self._words(tokens)
        return embedded

    def output(self, hidden: Tensor) -> Tensor:
        """The last norm; see Network."""
        output: Tensor = self._norm(hidden)
        return output


class LlamaLayer:
    """Self-attention and a gated feed-forward block, a norm before each; see Layer."""

    def __init__(
        self, source: LlamaDecoderLayer, shape: AttentionShape, rotation: Rotation, activation: str, rows: int
    ) -> None:
        own, inner = source.self_attn, source.mlp
        self._shape, self._rotation, self._activation = shape, rotation, activation
        self._attention_norm, self._inner_norm = source.input_layernorm, source.post_attention_layernorm
        self._queries_keys_values = Linear.joined([own.q_proj, own.k_proj, own.v_proj], rows, (own.scaling, 1.0, 1.0))
        self._attention_output = Linear.joined([own.o_proj], rows)
        self._gate, self._inner = Linear.joined([inner.gate_proj], rows), Linear.joined([inner.up_proj], rows)
        self._outer = Linear.joined([inner.down_proj], rows)

    def project(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All three in one multiplication; queries and keys are turned; see Layer."""
        shape = self._shape
        joined = self._queries_keys_values(self._attention_norm(hidden)).unflatten(1, (-1, shape.head_size))
        turning = shape.heads + shape.key_value_heads
        turned = self._rotation(joined[:, :turning], positions)
        return turned[:, : shape.heads], turned[:, shape.heads :], joined[:, turning:]

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """See Layer."""
        hidden = self._attention_output.added_to(hidden, attended)
        normed = self._inner_norm(hidden)
        return self._outer.added_to(hidden, self._gate.activated(normed, self._activation) * self._inner(normed))
