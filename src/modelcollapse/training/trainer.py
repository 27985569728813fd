"""Lightning trainers configured by the settings, and the execution facts of manifests.

Lightning is imported where the first trainer is made: a chain that is finished in the store needs none.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from modelcollapse.data.batches import ONLY_RANK, Rank
from modelcollapse.training.processes import keep_freed_memory, quiet_transformers, threads_of_each
from modelcollapse.training.settings import TrainerSettings

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer


CPU_SCORING_BYTES, GPU_SCORING_BYTES = 2**29, 2**32
"""What scoring may hold at once, beside the weights."""

EpochListener = Callable[[int, Mapping[str, float]], None]
ProgressListener = Callable[[str, int, int, float], None]


def ignore_epoch(generation: int, line: Mapping[str, float]) -> None:
    """Do nothing with a finished epoch."""


def ignore_progress(label: str, done: int, total: int, seconds_left: float) -> None:
    """Do nothing with the progress of a stage."""


@dataclass(frozen=True)
class Execution:
    """How stages are executed: trainer settings, console, and where finished epochs are reported."""

    settings: TrainerSettings
    console: Console | None
    on_epoch: EpochListener = ignore_epoch
    """Called after every finished epoch of a generation's fit."""
    on_progress: ProgressListener = ignore_progress
    """Called after every step of a stage: its label, steps done, steps in all, seconds left."""

    def trainer(
        self,
        callbacks: Sequence[Callback],
        epochs: int | None = None,
        gradient_clip: float | None = None,
        rank: Rank = ONLY_RANK,
    ) -> Trainer:
        """A silent trainer that writes nothing of its own and leaves samplers alone.

        It computes on one device, or as the given rank of a DDP fit.
        """
        from pytorch_lightning import Trainer

        from modelcollapse.training.checkpoints import SafeCheckpointIO
        from modelcollapse.training.ddp import SingleMachineDDP

        _quiet_lightning()
        return Trainer(
            accelerator=self.settings.accelerator,
            devices=rank.world_size,
            strategy="auto" if rank == ONLY_RANK else SingleMachineDDP(rank),
            precision=self.settings.precision,
            max_epochs=epochs,
            gradient_clip_val=gradient_clip,
            callbacks=list(callbacks),
            plugins=[SafeCheckpointIO()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )

    def scoring_batch_size(self, bytes_per_row: int) -> int:
        """Rows that are scored at once: as the settings say, or as many as a bounded memory holds."""
        if self.settings.scoring_batch_size is not None:
            return self.settings.scoring_batch_size
        return max(1, (CPU_SCORING_BYTES if self.device.type == "cpu" else GPU_SCORING_BYTES) // bytes_per_row)

    def facts(self, devices: int = 1, /, **more: Any) -> dict[str, Any]:
        """Execution facts for the manifest: results are bit-identical only where these are equal."""
        return {
            "device": str(self.device.type),
            "device_name": _device_name(self.device),
            "threads": threads_of_each(devices),
            "world_size": devices,
            **more,
        }

    @cached_property
    def device(self) -> torch.device:
        """The first device, on which everything but fits is computed.

        A trainer knows it, and to make one takes as long as ten cheap generations.
        """
        return self.trainer(()).strategy.root_device


def _quiet_lightning() -> None:
    """Turn off Lightning's messages; its import turns them on."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()


def prepare_process(settings: TrainerSettings) -> None:
    """Fix the thread count, tune the allocator and silence the libraries."""
    keep_freed_memory()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torchmetrics)\b.*")
    quiet_transformers()
