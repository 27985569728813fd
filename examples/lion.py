"""An optimizer and a Lightning callback of one's own, in a script.

``python lion.py 'callbacks=[lr_monitor,my_callback]' model.training.optimizer=lion debug=fast``, or with more of
Lightning's words: ``trainer.accumulate_grad_batches=4 trainer.profiler=simple``.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

import modelcollapse as mc


class Lion(torch.optim.Optimizer):
    """Steps of equal size along the sign of a mixture of momentum and gradient (Chen et al., arXiv 2302.06675)."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], **defaults: Any) -> None:
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step; the closure computes loss and gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(weight, weight.grad, group)
        return loss

    def _step(self, weight: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        direction = torch.lerp(gradient, momentum, group["beta1"]).sign()
        weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])
        momentum.lerp_(gradient, 1 - group["beta2"])


@mc.optimizer("lion", version=1)
class LionOptimizer:
    """Lion; its learning rate is best a few times smaller than AdamW's."""

    beta1: float = 0.9
    beta2: float = 0.99

    def __call__(self, parameters: Iterable[torch.nn.Parameter], training: Any) -> Lion:
        """The optimizer of a fit with these settings."""
        decay = training.weight_decay
        return Lion(parameters, lr=training.learning_rate, weight_decay=decay, beta1=self.beta1, beta2=self.beta2)


@mc.callback("my_callback", changes_results=False, version=1)
class WeightNorm(Callback):
    """Logs the norm of all weights after every epoch."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log it."""
        norms = [weight.detach().norm() for weight in pl_module.parameters()]
        pl_module.log("weight_norm", torch.stack(norms).norm(), prog_bar=True)


if __name__ == "__main__":
    mc.main()
