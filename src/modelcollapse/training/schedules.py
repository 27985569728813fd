"""Schedules: the learning rate at an optimizer step, as a share of the peak.

A registered schedule (kind ``schedules``) is a function ``factor(step, steps_per_epoch, epochs, training)`` of the step
(from 0), the length of the fit and the ``training`` settings of the family; its own settings are keyword arguments.
Warm-up comes before it and is no part of it.
"""

import math
from typing import Protocol


class ScheduledTraining(Protocol):
    """The settings of a fit that the built-in schedules read."""

    learning_rate: float
    final_learning_rate: float


def constant(step: int, steps_per_epoch: int, epochs: int, training: ScheduledTraining) -> float:
    """The peak throughout."""
    return 1.0


def cosine_per_epoch(step: int, steps_per_epoch: int, epochs: int, training: ScheduledTraining) -> float:
    """Torch's CosineAnnealingLR (Loshchilov & Hutter 2017), evaluated at each epoch's start, as the paper's code steps
    it.
    """
    return _cosine(step // steps_per_epoch / epochs, training)


def cosine_per_step(step: int, steps_per_epoch: int, epochs: int, training: ScheduledTraining) -> float:
    """Torch's CosineAnnealingLR (Loshchilov & Hutter 2017), evaluated at every step."""
    return _cosine(step / (steps_per_epoch * epochs), training)


def linear(step: int, steps_per_epoch: int, epochs: int, training: ScheduledTraining) -> float:
    """A straight line from the peak at step 0 to the final learning rate at the last step's end."""
    lowest = _lowest(training)
    return lowest + (1 - lowest) * (1 - min(step / (steps_per_epoch * epochs), 1.0))


def _cosine(passed: float, training: ScheduledTraining) -> float:
    lowest = _lowest(training)
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * min(passed, 1.0))) / 2


def _lowest(training: ScheduledTraining) -> float:
    return training.final_learning_rate / training.learning_rate
