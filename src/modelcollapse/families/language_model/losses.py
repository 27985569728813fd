"""Cross-entropy of a linear projection onto a vocabulary, without ever holding all logits.

The logits of a batch, [rows, vocabulary], are by far the largest tensor of a small language model's step, and plain
cross-entropy keeps several copies of them. Here they exist a chunk of rows at a time: projected, normalised and, while
they are there, turned into gradients (softmax minus one at the target), so that nothing is computed twice.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from modelcollapse.families.language_model.layers import product, product_with_transposed, transposed_product

CHUNK_BYTES = 128 * 2**20
"""Logits that are held at once."""
CACHE_BYTES = 2**20
"""Logits that are normalised at once on a CPU: what stays in the cache between one pass over them and the next."""


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the losses, and the loss of every row, in nats.

    ``hidden`` [rows, width], ``weight`` [vocabulary, width], ``targets`` [rows] int64, ``row_weights`` [rows], ones if
    not given; a row of weight 0 has no part in the sum and its gradients. The logits ``hidden @ weight.T`` are computed
    in autocast's type where it is enabled, else in that of ``hidden``; they are normalised in float32, or in float64 if
    they are in that. Only the sum is differentiable, once, with respect to ``hidden`` and ``weight``.
    """
    device = hidden.device.type
    compute_type = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    weights = hidden.new_ones(len(hidden)) if row_weights is None else row_weights
    with torch.autocast(device, enabled=False):
        total, losses = _LinearCrossEntropy.apply(
            hidden, weight, targets, weights, compute_type, torch.is_grad_enabled()
        )
    return total, losses


class _LinearCrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        row_weights: Tensor,
        compute_type: torch.dtype,
        with_gradients: bool,
    ) -> tuple[Tensor, Tensor]:
        weight_used = weight.to(compute_type)
        losses = hidden.new_empty(len(hidden), dtype=torch.promote_types(compute_type, torch.float32))
        ctx.gradients = None
        if with_gradients and any(ctx.needs_input_grad):
            ctx.gradients = (torch.empty_like(hidden), torch.zeros_like(weight))
        for rows in _chunks(len(hidden), len(weight) * compute_type.itemsize, CHUNK_BYTES):
            inputs = hidden[rows].to(compute_type)
            logits = product(inputs, weight_used)
            losses[rows] = _normalised(logits, targets[rows], ctx.gradients is not None)
            if ctx.gradients is not None:
                _add_gradients(ctx.gradients, rows, logits, inputs, weight_used, row_weights[rows, None])
        ctx.mark_non_differentiable(losses)
        return (losses * row_weights).sum(), losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total_gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of a linear cross-entropy are there for one backward pass only")
        hidden_gradient, weight_gradient = ctx.gradients
        ctx.gradients = None
        return hidden_gradient.mul_(total_gradient), weight_gradient.mul_(total_gradient), None, None, None, None


def _normalised(logits: Tensor, targets: Tensor, into_gradients: bool) -> Tensor:
    """Losses [rows] of logits [rows, vocabulary], which are turned into the losses' gradients if asked for."""
    losses_type = torch.promote_types(logits.dtype, torch.float32)
    losses = logits.new_empty(len(logits), dtype=losses_type)
    bytes_at_once = CACHE_BYTES if logits.device.type == "cpu" else CHUNK_BYTES
    for rows in _chunks(len(logits), logits.shape[1] * losses_type.itemsize, bytes_at_once):
        log_probabilities, columns = torch.log_softmax(logits[rows], 1, dtype=losses_type), targets[rows, None]
        losses[rows] = -log_probabilities.gather(1, columns).squeeze(1)
        if into_gradients:
            probabilities = log_probabilities.exp_()
            logits[rows] = probabilities.scatter_add_(1, columns, probabilities.new_full((), -1).expand_as(columns))
    return losses


def _add_gradients(
    gradients: tuple[Tensor, Tensor],
    rows: slice,
    logit_gradients: Tensor,
    inputs: Tensor,
    weight: Tensor,
    row_weights: Tensor,
) -> None:
    """Weights are applied where rows are short: to hidden states and not to logits."""
    hidden_gradient, weight_gradient = gradients
    hidden_gradient[rows] = product_with_transposed(logit_gradients, weight) * row_weights
    weight_gradient += transposed_product(logit_gradients, (inputs * row_weights).to(inputs.dtype))


def _chunks(rows: int, bytes_per_row: int, bytes_at_once: int) -> Iterator[slice]:
    """Slices of nearly equal length that cover the rows."""
    chunks = -(-rows * bytes_per_row // bytes_at_once)
    length = -(-rows // max(chunks, 1))
    yield from (slice(start, min(start + length, rows)) for start in range(0, rows, max(length, 1)))
