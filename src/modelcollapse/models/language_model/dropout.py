"""Dropout that remembers a byte an element.

torch's own keeps, on CPUs, the factor of every element in the elements' type until the backward pass: a seventh of what
an OPT's step keeps in float32.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode


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
