"""Linear layers whose weights are laid out once for the machine that decodes.

On CPUs oneDNN multiplies faster with weights that it has put into its own order beforehand. torch keeps that behind
private operators, so each is tried before it is trusted; `torch.nn.functional.linear` does the work where it fails.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

PROBE_ROWS, PROBE_WIDTH = 8, 32
PROBE_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
FUSED_ACTIVATIONS = {
    "relu": ("relu", ""),
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "silu": ("swish", ""),
    "swish": ("swish", ""),
}
"""Activations, by transformers' names, that oneDNN applies while it multiplies: its name and algorithm for them."""


class Linear:
    """``inputs @ weight.T + bias``, with what usually follows it."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        """``weight`` [outputs, inputs]; ``rows``: how many rows of inputs to expect, which decides the layout."""
        weight, bias = weight.detach(), bias if bias is None else bias.detach()
        self._bias = bias
        self._packed = weight.device.type == "cpu" and weight.dtype in PROBE_TOLERANCE and packing_works(weight.dtype)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows) if self._packed else weight

    @classmethod
    def joined(cls, parts: Sequence[nn.Linear], rows: int, scales: Sequence[float] = (1.0,)) -> "Linear":
        """Layers of the same inputs, their outputs one after the other; those of each part times its scale."""
        scaled = list(zip(parts, scales, strict=True))
        weight = torch.cat([part.weight * scale for part, scale in scaled])
        bias = None if parts[0].bias is None else torch.cat([part.bias * scale for part, scale in scaled])
        return cls(weight, bias, rows)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs [rows, outputs] of inputs [rows, inputs]."""
        if self._packed:
            return _packed_linear(inputs, self._weight, self._bias)
        return functional.linear(inputs, self._weight, self._bias)

    def activated(self, inputs: Tensor, activation: str) -> Tensor:
        """The outputs under an activation, called by transformers' name."""
        if self._packed and activation in FUSED_ACTIVATIONS:
            name, algorithm = FUSED_ACTIVATIONS[activation]
            return _packed_linear(inputs, self._weight, self._bias, name, algorithm)
        outputs: Tensor = ACT2FN[activation](self(inputs))
        return outputs

    def added_to(self, residual: Tensor, inputs: Tensor) -> Tensor:
        """``residual`` plus the outputs."""
        if self._packed:
            return _packed_sum(residual, inputs, self._weight, self._bias)
        return residual + self(inputs)


def _packed_linear(
    inputs: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none", algorithm: str = ""
) -> Tensor:
    outputs: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, activation, [], algorithm)
    return outputs


def _packed_sum(residual: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    outputs: Tensor = torch.ops.mkldnn._linear_pointwise.binary(inputs, residual, weight, bias, "add")
    return outputs


@cache
def packing_works(dtype: torch.dtype) -> bool:
    """Whether oneDNN's private operators are here, take this type, and compute what they should."""
    generator = torch.Generator().manual_seed(0)
    inputs, weight = torch.randn(2, PROBE_ROWS, PROBE_WIDTH, generator=generator).to(dtype)
    bias, residual = inputs[0, :PROBE_ROWS], inputs[:, :PROBE_ROWS].contiguous()
    plain = functional.linear(inputs.float(), weight.float(), bias.float())
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, PROBE_ROWS)
        pairs = [
            (_packed_linear(inputs, packed, bias), plain),
            (_packed_sum(residual, inputs, packed, bias), residual + plain),
            *(
                (_packed_linear(inputs, packed, bias, *fused), ACT2FN[name](plain))
                for name, fused in FUSED_ACTIVATIONS.items()
            ),
        ]
    except (AttributeError, RuntimeError):
        return False
    tolerance = PROBE_TOLERANCE[dtype]
    return all(torch.allclose(packed.float(), plain, rtol=tolerance, atol=tolerance) for packed, plain in pairs)
