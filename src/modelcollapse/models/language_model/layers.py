"""Layers that compute what a network's own do, faster: they take their place while it is fitted or scored.

A layer keeps its weights and its name; only its class is another, so that what is saved is the same.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from transformers import OPTForCausalLM, PreTrainedModel

from modelcollapse.models.language_model.products import (
    by_onednn,
    onednn_pays,
    product,
    product_with_transposed,
    transposed_product,
)

SMALLEST_WEIGHT = 2**18
"""Elements from which a weight's products outweigh the cost of calling a function from Python."""


def use_fast_layers(network: PreTrainedModel) -> None:
    """Linear layers by oneDNN where that pays, and an OPT's norms so that their output is cast once for all readers."""
    if isinstance(network, OPTForCausalLM) and network.config.do_layer_norm_before:
        # Otherwise a norm's output is added to, too, and must stay as exact as it is.
        for layer in network.model.decoder.layers:
            layer.self_attn_layer_norm.__class__ = layer.final_layer_norm.__class__ = CastingLayerNorm
    if onednn_pays():
        for module in network.modules():
            if type(module) is torch.nn.Linear and module.weight.numel() >= SMALLEST_WEIGHT:
                module.__class__ = OneDnnLinear


def use_fast_half_precision_attention(network: PreTrainedModel, device: torch.device) -> None:
    """Attention by plain products on a CPU, where torch's own is several times slower in bfloat16."""
    if device.type == "cpu":
        network.set_attn_implementation("eager")


class CastingLayerNorm(torch.nn.LayerNorm):
    """A layer norm in float32 whose output is in autocast's type where that is enabled."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised inputs [..., width]."""
        outputs, device = super().forward(inputs), inputs.device.type
        return outputs.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else outputs


class OneDnnLinear(torch.nn.Linear):
    """A linear layer whose float32 products are oneDNN's."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [..., outputs] of inputs [..., inputs]; under autocast torch's own products are oneDNN's already."""
        if torch.is_autocast_enabled(inputs.device.type) or not by_onednn(self.weight):
            return super().forward(inputs)
        outputs: Tensor = _OneDnnLinear.apply(inputs.flatten(0, -2), self.weight, self.bias)
        return outputs.view(*inputs.shape[:-1], -1)


class _OneDnnLinear(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        for_inputs, for_weight, for_bias = ctx.needs_input_grad
        return (
            product_with_transposed(gradients, weight) if for_inputs else None,
            transposed_product(gradients, inputs) if for_weight else None,
            gradients.sum(0) if for_bias else None,
        )
