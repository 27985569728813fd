"""Losses of a linear projection onto a vocabulary, without ever holding all logits.

The logits of a batch, [rows, vocabulary], are by far the largest tensor of a small language model's step, and a plain
loss keeps several copies of them. Here they exist a chunk of rows at a time: projected, scored and, while they are
there, turned into gradients, so that nothing is computed twice.

A loss (registry kind ``losses``) is a function of logits [rows, vocabulary], float32 or wider, and targets [rows], that
returns a loss a row, [rows] in nats. The loss of a row follows from the logits and the target of that row alone: how
rows are divided into chunks changes no result beyond rounding. Its gradients are found by automatic differentiation, a
chunk at a time, unless it has a method ``in_place`` that turns the logits into the gradients itself; its logits are
those of the projection, in bfloat16 where that is. Losses decide what is learnt; scoring and validation always use
cross-entropy.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
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


Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits [rows, vocabulary] and targets [rows] -> losses [rows]."""


class CrossEntropy:
    """Negative log-likelihood of the targets, with gradients of its own: softmax minus one at the target."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses [rows] of logits [rows, vocabulary], which are left as they are."""
        return -_log_probabilities(logits).gather(1, targets[:, None]).squeeze(1)

    def in_place(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses [rows] of logits [rows, vocabulary], which are turned into the losses' gradients."""
        log_probabilities, columns = _log_probabilities(logits), targets[:, None]
        losses = -log_probabilities.gather(1, columns).squeeze(1)
        probabilities = log_probabilities.exp_()
        logits[:] = probabilities.scatter_add_(1, columns, probabilities.new_full((), -1).expand_as(columns))
        return losses


CROSS_ENTROPY = CrossEntropy()


def truncated_cross_entropy(logits: Tensor, targets: Tensor, *, gamma: float) -> Tensor:
    """Cross-entropy of the targets whose probability is at most ``gamma``, and 0 of all others (Truncated Cross
    Entropy, ForTIFAI, arXiv 2509.08972).

    A target of a probability above ``gamma`` is learnt already, and in a synthetic set it is often the model's own
    confidence: it has no gradient either. The threshold itself is not differentiated. Means are over all targets, as
    those of cross-entropy are: they are not divided by the number of targets that are left.
    """
    losses = -_log_probabilities(logits).gather(1, targets[:, None]).squeeze(1)
    return losses.where(losses.detach() >= -math.log(gamma), 0.0)


def focal(logits: Tensor, targets: Tensor, *, gamma: float) -> Tensor:
    """(1 - p)^gamma times the cross-entropy, p the probability of the target (Lin et al., arXiv 1708.02002).

    Targets that the model is sure of weigh little, without the step of ``truncated_cross_entropy``; ``gamma`` 0 is
    cross-entropy.
    """
    log_probability = _log_probabilities(logits).gather(1, targets[:, None]).squeeze(1)
    # Of a target that is certain 1 - p has no power with a finite slope below 1.
    doubt = (-torch.expm1(log_probability)).clamp(min=torch.finfo(log_probability.dtype).tiny)
    return -(doubt**gamma) * log_probability


def _log_probabilities(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits, 1, dtype=torch.promote_types(logits.dtype, torch.float32))


def linear_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor | None = None, loss: Loss = CROSS_ENTROPY
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the losses, and the loss of every row, in nats.

    ``hidden`` [rows, width], ``weight`` [vocabulary, width], ``targets`` [rows] int64, ``row_weights`` [rows], ones if
    not given; a row of weight 0 has no part in the sum and its gradients. The logits ``hidden @ weight.T`` are computed
    in the type of autocast where it is on, else in that of ``hidden``; the losses are computed in float32, or in
    float64 if they are in that. Only the sum is differentiable, once, with respect to ``hidden`` and ``weight``.

    Raises ValueError where the loss does not give a number a row.
    """
    device = hidden.device.type
    compute_type = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    weights = hidden.new_ones(len(hidden)) if row_weights is None else row_weights
    with torch.autocast(device, enabled=False):
        total, losses = _LinearLoss.apply(hidden, weight, targets, weights, loss, compute_type, torch.is_grad_enabled())
    return total, losses


class _LinearLoss(Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        row_weights: Tensor,
        loss: Loss,
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
            losses[rows] = _losses(loss, logits, targets[rows], ctx.gradients is not None)
            if ctx.gradients is not None:
                _add_gradients(ctx.gradients, rows, logits, inputs, weight_used, row_weights[rows, None])
        ctx.mark_non_differentiable(losses)
        return (losses * row_weights).sum(), losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, total_gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of a linear loss are there for one backward pass only")
        hidden_gradient, weight_gradient = ctx.gradients
        ctx.gradients = None
        return hidden_gradient.mul_(total_gradient), weight_gradient.mul_(total_gradient), *[None] * 5


def _losses(loss: Loss, logits: Tensor, targets: Tensor, into_gradients: bool) -> Tensor:
    """Losses [rows] of logits [rows, vocabulary], which are turned into the losses' gradients if asked for."""
    losses_type = torch.promote_types(logits.dtype, torch.float32)
    losses = logits.new_empty(len(logits), dtype=losses_type)
    evaluate = _evaluation(loss, into_gradients)
    bytes_at_once = CACHE_BYTES if logits.device.type == "cpu" else CHUNK_BYTES
    for rows in _chunks(len(logits), logits.shape[1] * losses_type.itemsize, bytes_at_once):
        found = evaluate(logits[rows], targets[rows])
        if found.shape != targets[rows].shape:
            raise ValueError(f"a loss gives a number a row, [{len(targets[rows])}], not {list(found.shape)}")
        losses[rows] = found
    return losses


def _evaluation(loss: Loss, into_gradients: bool) -> Loss:
    """The loss as a function that, if asked for, also turns the logits into its gradients."""
    own: Loss | None = getattr(loss, "in_place", None)
    if own is not None:
        return own if into_gradients else loss
    return partial(_differentiated if into_gradients else _widened, loss)


def _widened(loss: Loss, logits: Tensor, targets: Tensor) -> Tensor:
    return loss(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets)


def _differentiated(loss: Loss, logits: Tensor, targets: Tensor) -> Tensor:
    inputs = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True).requires_grad_()
    with torch.enable_grad():
        losses = loss(inputs, targets)
        (gradients,) = torch.autograd.grad(losses.sum(), inputs)
    logits[:] = gradients
    return losses.detach()


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
