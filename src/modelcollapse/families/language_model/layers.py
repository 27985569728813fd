"""Faster layers of equal function, which replace a network's own while it is fitted or scored.

A layer keeps its weights and its name; only its class is another, so that what is saved is the same.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import OPTForCausalLM, PreTrainedModel

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


SEGMENT = 1024
"""Rows summed at once in a weight's gradient: oneDNN slows down on longer sums."""
PROBE_TOLERANCE = 1e-4


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``inputs @ weight.T + bias``: [rows, outputs] of [rows, inputs] and [outputs, inputs]."""
    if by_onednn(weight):
        return _onednn(inputs, weight, bias)
    return functional.linear(inputs, weight, bias)


def product_with_transposed(gradients: Tensor, weight: Tensor) -> Tensor:
    """``gradients @ weight``: the gradient with respect to a linear layer's inputs."""
    return _onednn(gradients, weight.t()) if by_onednn(weight) else gradients @ weight


def transposed_product(gradients: Tensor, inputs: Tensor) -> Tensor:
    """``gradients.T @ inputs``: the gradient with respect to a linear layer's weight."""
    if not by_onednn(gradients):
        return gradients.t() @ inputs
    parts = zip(gradients.split(SEGMENT), inputs.split(SEGMENT), strict=True)
    first, *others = (_onednn(some_gradients.t(), some_inputs.t()) for some_gradients, some_inputs in parts)
    return sum(others, start=first)


def by_onednn(tensor: Tensor) -> bool:
    """Whether products with this tensor are oneDNN's here."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and onednn_pays()


def _onednn(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    outputs: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return outputs


@cache
def onednn_pays() -> bool:
    """Whether this is a processor that MKL neglects, and oneDNN's operator is here and right."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and torch.backends.mkl.is_available() and not _is_intels() and _onednn_works()


def _is_intels() -> bool:
    description = Path("/proc/cpuinfo")
    return not description.exists() or "GenuineIntel" in description.read_text(encoding="utf-8")


def _onednn_works() -> bool:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 40, 24, generator=generator)
    pairs = ((left, right), (left, right.t().contiguous().t()), (left.t(), right.t()))
    try:
        return all(
            torch.allclose(_onednn(*pair), pair[0] @ pair[1].t(), rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE)
            for pair in pairs
        )
    except (AttributeError, RuntimeError):
        return False


def lean_dropout(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, `torch.nn.functional.dropout` gives the same bits with less memory; GPUs have that already."""
    return _LeanDropout() if device.type == "cpu" else nullcontext()


class _LeanDropout(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        return (_dropout if function is functional.dropout else function)(*args, **(kwargs or {}))


def _dropout(inputs: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or inplace or not 0 < p < 1:
        return functional.dropout(inputs, p, training, inplace)
    outputs: Tensor = _Dropout.apply(inputs, p)
    return outputs


class _Dropout(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, probability: float) -> Tensor:
        kept = torch.empty_like(inputs, dtype=torch.bool).bernoulli_(1 - probability)
        ctx.save_for_backward(kept)
        # Divided in the inputs' type, as torch does.
        ctx.factor = inputs.new_ones(()).div_(1 - probability)
        return kept.to(inputs.dtype).mul_(ctx.factor).mul_(inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return kept.to(gradients.dtype).mul_(ctx.factor).mul_(gradients), None
