"""The base of modules that are fitted: what a fit asks of a LightningModule, and batches computed in parts."""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule

from modelcollapse.errors import FitFailed

VALIDATION = "validation/"
"""Prefix of values that there are only after a validation."""


class FitModule(LightningModule):
    """A LightningModule whose ``network`` is fitted.

    A subclass has ``configure_optimizers`` and the validation hooks of Lightning, and either :meth:`loss` and
    :meth:`split`, which let ``trainer.micro_batch_size`` be honoured, or a ``training_step`` of its own. What any hook
    logs with ``self.log`` is in the epoch's line of the record, and so in every logger; with ``prog_bar=True`` it is
    shown beside the progress bar.
    """

    network: torch.nn.Module
    """The network whose weights are kept."""
    monitor = "validation/loss"
    """Logged value whose smallest is best, where :meth:`validation_value` is not overridden."""
    micro_batch_size: int | None = None
    """Rows of a batch that are computed at once; None computes it whole. Set by the fit."""

    def loss(self, batch: Any) -> torch.Tensor:
        """The loss of a batch, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} has neither loss() nor training_step()")

    def split(self, batch: Any, rows: int) -> Sequence[Any]:
        """A batch in parts of at most ``rows`` rows, whose losses add up to the loss of the batch.

        Raises FitFailed where the module does not say how.
        """
        raise FitFailed(f"{type(self).__name__} cannot split its batches: set trainer.micro_batch_size=null")

    def training_step(self, batch: Any) -> torch.Tensor:
        """The loss of a batch, whose gradients are computed a part at a time where ``micro_batch_size`` says so."""
        if self.micro_batch_size is None:
            return self.loss(batch)
        parts = self.split(batch, self.micro_batch_size)
        return self.loss(parts[0]) if len(parts) == 1 else self._summed(parts)

    def _summed(self, parts: Sequence[Any]) -> torch.Tensor:
        """The sum of the losses of parts, each differentiated before the next is computed."""
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        scale = self._loss_scale()
        total = torch.zeros((), device=self.device)
        sums: list[torch.Tensor | None] = [None] * len(weights)
        for part in parts:
            loss = self.loss(part)
            total = total + loss.detach()
            # As Lightning's own backward pass, outside of what mixed precision casts.
            with torch.autocast(self.device.type, enabled=False):
                gradients = torch.autograd.grad(loss * scale, weights, allow_unused=True)
            sums = [_sum(one, other) for one, other in zip(sums, gradients, strict=True)]
        found = [(weight, gradient) for weight, gradient in zip(weights, sums, strict=True) if gradient is not None]
        kept = [gradient.div_(scale) if scale != 1 else gradient for _, gradient in found]
        differentiated: torch.Tensor = _Differentiated.apply(total, kept, *(weight for weight, _ in found))
        return differentiated

    def _loss_scale(self) -> float:
        """What half precision multiplies losses by, so that small gradients do not vanish; Lightning does it later."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return float(scaler.get_scale()) if scaler is not None else 1.0

    def epoch_line(self) -> dict[str, float]:
        """What is recorded of the epoch that just ended beside what was logged, without times.

        With several ranks, values of all of them. Those whose names begin with ``validation/`` are left out where the
        epoch was not validated.
        """
        return {}

    def validation_value(self) -> float:
        """A loss on the real validation split whose smallest value is best; with several ranks, of all of them."""
        return float(self.trainer.callback_metrics[self.monitor])

    @property
    def is_validated(self) -> bool:
        """Whether the present epoch ends with a validation."""
        every = self.trainer.check_val_every_n_epoch or 1
        return (self.current_epoch + 1) % every == 0

    def recorded(self) -> dict[str, float]:
        """The epoch's line, without values of a validation that there was not."""
        line = self.epoch_line()
        return {name: value for name, value in line.items() if self.is_validated or not name.startswith(VALIDATION)}

    def on_train_epoch_end(self) -> None:
        """Log the epoch's line, for callbacks that watch a value (``EarlyStopping``)."""
        for name, value in self.recorded().items():
            self.log(name, torch.tensor(value, dtype=torch.float64, device=self.device))


def _sum(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return one.add_(other)


class _Differentiated(torch.autograd.Function):
    """A loss whose gradients are known already."""

    @staticmethod
    def forward(
        context: Any, loss: torch.Tensor, gradients: list[torch.Tensor], *weights: torch.Tensor
    ) -> torch.Tensor:
        context.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> Any:
        (factor,) = upstream
        gradients, context.gradients = context.gradients, None
        return None, None, *(gradient.mul_(factor) for gradient in gradients)
