"""The built-in callbacks: what :mod:`modelcollapse.training.registration` names.

A registered callback (kind ``callbacks``) is a :class:`pytorch_lightning.Callback`, made anew for the fit of each
generation. Its hooks run before the epoch's checkpoint is written, so that a fit that goes on after a kill finds its
state (``state_dict``: plain data and tensors). What it logs at an epoch's end, as what the module logs, is in the
epoch's line of the record. The options of its member are

* ``changes_results``: whether weights can depend on it; it is then part of the fit's recipe;
* ``replaces_weights``: whether it puts other weights, such as averages, in the place of the last ones;
* ``all_ranks``: whether every rank of a DDP fit has it, not rank 0 alone.

A callback that only looks must leave the global random numbers alone.
"""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping as LightningEarlyStopping
from pytorch_lightning.callbacks import EMAWeightAveraging


class LearningRateMonitor(Callback):
    """Logs the learning rate of every optimizer at each epoch's end, as ``lr-AdamW`` (``lr-AdamW/pg2`` of its second
    parameter group).

    Lightning's own, of the same names, needs a logger of Lightning's.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the rates of the next step."""
        for optimizer in trainer.optimizers:
            for number, group in enumerate(optimizer.param_groups, start=1):
                name = f"lr-{type(optimizer).__name__}{f'/pg{number}' if len(optimizer.param_groups) > 1 else ''}"
                pl_module.log(name, torch.tensor(float(group["lr"]), dtype=torch.float64))


class EarlyStopping(LightningEarlyStopping):
    """Lightning's: ends a fit once a value of its epochs has stopped getting better."""

    def __init__(self, monitor: str, patience: int, min_delta: float, mode: str) -> None:
        # After an epoch, whose values are there then; the loss itself is looked at elsewhere (``trainer.on_nan``).
        super().__init__(
            monitor, min_delta, patience, mode=mode, check_finite=False, check_on_train_epoch_end=True, verbose=False
        )


class WeightAveraging(EMAWeightAveraging):
    """Lightning's exponential moving average of the weights after every step; its values are validated and kept."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the averages where the weights will be: Lightning would leave them on the CPU."""
        self._device: Any = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
