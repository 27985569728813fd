"""The built-in optimizers: functions of the parameters and the settings of a fit.

A registered optimizer (kind ``optimizers``) is called with the parameters to be fitted and the ``training`` settings of
the family, of which it reads learning rate and weight decay, and with its own settings as keyword arguments; it returns
a :class:`torch.optim.Optimizer`.
"""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch.nn import Parameter


class OptimizedTraining(Protocol):
    """The settings of a fit that the built-in optimizers read."""

    learning_rate: float
    weight_decay: float
    gradient_clip: float | None


def adamw(parameters: Iterable[Parameter], training: OptimizedTraining) -> torch.optim.Optimizer:
    """AdamW, with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(
        parameters,
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        # Lightning refuses to clip the gradients of a fused optimizer in mixed precision.
        fused=training.gradient_clip is None,
    )


def adam(parameters: Iterable[Parameter], training: OptimizedTraining) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015); weight decay is an L2 penalty, added to the gradient."""
    return torch.optim.Adam(parameters, lr=training.learning_rate, weight_decay=training.weight_decay)


def sgd(parameters: Iterable[Parameter], training: OptimizedTraining, *, momentum: float) -> torch.optim.Optimizer:
    """Stochastic gradient descent; weight decay is an L2 penalty, added to the gradient."""
    rate, decay = training.learning_rate, training.weight_decay
    return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay)
