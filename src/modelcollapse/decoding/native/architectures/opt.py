"""How OPT computes (Zhang et al. 2022): learned positions, biases, layer norms before or after each part."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import Identity, functional
from transformers import OPTForCausalLM
from transformers.models.opt.modeling_opt import OPTDecoderLayer

from modelcollapse.decoding.native.linear import Linear
from modelcollapse.decoding.native.network import AttentionShape, Layer


class OPTNetwork:
    """OPT of any size, 350m with its narrower embeddings and norms after each part included; see Network."""

    def __init__(self, source: OPTForCausalLM, rows: int) -> None:
        """Weights laid out for about ``rows`` rows at a time."""
        decoder, config = source.model.decoder, source.config
        heads = config.num_attention_heads
        self.attention = AttentionShape(heads, heads, config.hidden_size // heads)
        self.layers: Sequence[Layer] = [
            OPTLayer(layer, self.attention, config.activation_function, rows) for layer in decoder.layers
        ]
        self.vocabulary = source.lm_head.weight.detach()
        self._words = decoder.embed_tokens
        self._positions = decoder.embed_positions.weight[decoder.embed_positions.offset :]
        self._project_in = decoder.project_in or Identity()
        self._project_out = decoder.project_out or Identity()
        self._norm = decoder.final_layer_norm or Identity()

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Word and position embeddings, added; see Network."""
        words: Tensor = self._project_in(self._words(tokens))
        return words + functional.embedding(positions, self._positions)

    def output(self, hidden: Tensor) -> Tensor:
        """The last norm, and the way back to the embeddings' width; see Network."""
        output: Tensor = self._project_out(self._norm(hidden))
        return output


class OPTLayer:
    """Self-attention and a feed-forward block, each on a residual branch; see Layer."""

    def __init__(self, source: OPTDecoderLayer, shape: AttentionShape, activation: str, rows: int) -> None:
        self._shape, self._activation = shape, activation
        self._norm_first = source.do_layer_norm_before
        self._attention_norm, self._inner_norm = source.self_attn_layer_norm, source.final_layer_norm
        own = source.self_attn
        self._queries_keys_values = Linear.joined([own.q_proj, own.k_proj, own.v_proj], rows, (own.scaling, 1.0, 1.0))
        self._attention_output = Linear.joined([own.out_proj], rows)
        self._inner = Linear.joined([source.fc1], rows)
        self._outer = Linear.joined([source.fc2], rows)

    def project(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All three in one multiplication; the positions are in the embeddings already; see Layer."""
        inputs = self._attention_norm(hidden) if self._norm_first else hidden
        joined = self._queries_keys_values(inputs).view(len(hidden), 3, self._shape.heads, self._shape.head_size)
        queries, keys, values = joined.unbind(1)
        return queries, keys, values

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """See Layer."""
        hidden = self._attention_output.added_to(hidden, attended)
        if self._norm_first:
            inner = self._inner.activated(self._inner_norm(hidden), self._activation)
            return self._outer.added_to(hidden, inner)
        hidden = self._attention_norm(hidden)
        inner = self._inner.activated(hidden, self._activation)
        output: Tensor = self._inner_norm(self._outer.added_to(hidden, inner))
        return output
