"""Matrix products of training and scoring: by oneDNN on processors where torch's own library, MKL, is slow.

MKL takes its AVX-512 paths on Intel's processors only. oneDNN, which torch brings too and uses for bfloat16 anyway,
asks the processor what it can do, but torch offers it for float32 behind a private operator: it is tried before it is
trusted, and where it fails, or would not pay, torch's own products do the work.
"""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

SEGMENT = 1024
"""Rows summed at once in a weight's gradient: oneDNN slows down on longer sums."""
PROBE_TOLERANCE = 1e-4


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``inputs @ weight.T + bias``: [rows, outputs] of [rows, inputs] and [outputs, inputs]."""
    if by_onednn(weight):
        return _onednn(inputs, weight, bias)
    return functional.linear(inputs, weight, bias)


def product_with_transposed(gradients: Tensor, weight: Tensor) -> Tensor:
    """``gradients @ weight``: what a linear layer's inputs are told."""
    return _onednn(gradients, weight.t()) if by_onednn(weight) else gradients @ weight


def transposed_product(gradients: Tensor, inputs: Tensor) -> Tensor:
    """``gradients.T @ inputs``: what a linear layer's weight is told."""
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
    return not description.exists() or "GenuineIntel" in description.read_text()


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
