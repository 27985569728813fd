"""Newton's method for the weights of logistic regression, of many replicates at once."""

import torch
from torch.nn.functional import softplus

MOST_ITERATIONS = 100
TOLERANCE = 1e-10
"""A fit ends where no component of the gradient of the mean loss is larger."""
SUFFICIENT_DECREASE, HALVINGS = 1e-4, 40


class NoFiniteFit(ArithmeticError):
    """The likelihood has no maximum: the weights grow without end."""


def logistic_weights(
    features: torch.Tensor, labels: torch.Tensor, row_weights: torch.Tensor, ridge: float, start: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights that minimise mean cross-entropy + ridge |w|^2, [R, d], and the iterations that each took, [R].

    ``features`` [R, rows, d], ``labels`` [R, rows] of 0 and 1, ``row_weights`` [R, rows] of mean 1. Newton's steps are
    halved until they decrease the objective enough (Armijo). Raises NoFiniteFit where a plane separates the labels and
    there is no ridge.
    """
    weights, iterations = start.clone(), torch.zeros(len(start), dtype=torch.float64)
    active = torch.arange(len(start))
    for _ in range(MOST_ITERATIONS):
        logits = _logits(features[active], weights[active])
        if ridge == 0 and bool((((2 * labels[active] - 1) * logits) > 0).all(1).any()):
            raise NoFiniteFit
        gradient = _gradient(features[active], labels[active], row_weights[active], ridge, weights[active], logits)
        unfinished = gradient.abs().amax(1) > TOLERANCE
        if not bool(unfinished.any()):
            return weights, iterations
        active, gradient, logits = active[unfinished], gradient[unfinished], logits[unfinished]
        step = _newton_step(features[active], row_weights[active], ridge, logits, gradient)
        weights[active] = _decreased(
            features[active], labels[active], row_weights[active], ridge, weights[active], step, gradient
        )
        iterations[active] += 1
    raise NoFiniteFit


def _logits(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (features @ weights[..., None])[..., 0]


def _objective(
    logits: torch.Tensor, labels: torch.Tensor, row_weights: torch.Tensor, penalty: torch.Tensor
) -> torch.Tensor:
    return (row_weights * (softplus(logits) - labels * logits)).mean(1) + penalty


def _gradient(
    features: torch.Tensor,
    labels: torch.Tensor,
    row_weights: torch.Tensor,
    ridge: float,
    weights: torch.Tensor,
    logits: torch.Tensor,
) -> torch.Tensor:
    residuals = row_weights * (logits.sigmoid() - labels)
    return (features.mT @ residuals[..., None])[..., 0] / features.shape[1] + 2 * ridge * weights


def _newton_step(
    features: torch.Tensor, row_weights: torch.Tensor, ridge: float, logits: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor:
    probabilities = logits.sigmoid()
    curvature = row_weights * probabilities * (1 - probabilities)
    hessian = features.mT @ (curvature[..., None] * features) / features.shape[1]
    # A relative floor keeps the factor of a flat likelihood finite; it changes the step only, never where it ends.
    floor = 2 * ridge + 1e-12 * hessian.diagonal(dim1=1, dim2=2).mean(1) + torch.finfo(torch.float64).tiny
    hessian.diagonal(dim1=1, dim2=2).add_(floor[:, None])
    return torch.linalg.solve(hessian, gradient)


def _decreased(
    features: torch.Tensor,
    labels: torch.Tensor,
    row_weights: torch.Tensor,
    ridge: float,
    weights: torch.Tensor,
    step: torch.Tensor,
    gradient: torch.Tensor,
) -> torch.Tensor:
    """The weights after the step, halved for each replicate until its objective is low enough."""
    before = _objective(_logits(features, weights), labels, row_weights, ridge * weights.square().sum(1))
    slope = (gradient * step).sum(1)
    # Close to the minimum a decrease drowns in rounding.
    rounding = 1e-14 * (1 + before.abs())
    length = torch.ones(len(weights), dtype=torch.float64)
    for _ in range(HALVINGS):
        moved = weights - length[:, None] * step
        after = _objective(_logits(features, moved), labels, row_weights, ridge * moved.square().sum(1))
        too_long = ~(after <= before - SUFFICIENT_DECREASE * length * slope + rounding)
        if not bool(too_long.any()):
            return moved
        length = torch.where(too_long, length / 2, length)
    return weights - length[:, None] * step
