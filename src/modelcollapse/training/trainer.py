"""Lightning trainers configured by the settings, and the execution facts of manifests.

Lightning is imported where the first trainer is made: a chain that is finished in the store needs none.
"""

from __future__ import annotations

import logging
import re
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from modelcollapse.data.batches import ONLY_RANK, Rank
from modelcollapse.training.processes import (
    keep_freed_memory,
    quiet_transformers,
    threads_of_each,
    use_plain_arithmetic,
    use_threads,
)
from modelcollapse.training.settings import NO_ARGUMENTS, FitArguments, TrainerSettings

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer
    from pytorch_lightning.profilers import Profiler


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
    profiles: Path | None = None
    """Folder that profiles of fits are written to; None keeps none."""

    def trainer(
        self,
        callbacks: Sequence[Callback],
        epochs: int | None = None,
        gradient_clip: float | None = None,
        rank: Rank = ONLY_RANK,
        arguments: FitArguments = NO_ARGUMENTS,
        label: str = "",
    ) -> Trainer:
        """A silent trainer that writes nothing of its own and leaves samplers and signals alone.

        It computes on one device, or as the given rank of a DDP fit. Neither the environment (``PL_TRAINER_*``, SLURM,
        ranks) nor the working folder nor other packages decide anything: every argument is given, the folder where
        Lightning looks for checkpoints is empty, and callbacks that packages register with Lightning are left out.

        Args:
            callbacks: Lightning's; a fit that keeps checkpoints has one that is a ``Checkpoint``.
            epochs: how many are fitted; None for trainers that fit nothing.
            gradient_clip: largest gradient.
            rank: of this process in a DDP fit.
            arguments: those of fits; their limits of batches and steps are not for Lightning to keep.
            label: what is fitted; names its profile.
        """
        from lightning_utilities.core.rank_zero import rank_zero_only
        from pytorch_lightning import Trainer
        from pytorch_lightning.callbacks import Checkpoint

        from modelcollapse.training.checkpoints import SafeCheckpointIO
        from modelcollapse.training.ddp import OneMachine, SingleMachineDDP

        _quiet_lightning()
        # It is read from variables of clusters when Lightning is imported.
        rank_zero_only.rank = rank.index  # type: ignore[attr-defined]
        empty = TemporaryDirectory(prefix="modelcollapse-")
        with _no_callbacks_of_packages():
            trainer = Trainer(
                accelerator=self.settings.accelerator,
                strategy="auto" if rank == ONLY_RANK else SingleMachineDDP(rank),
                devices=rank.world_size,
                num_nodes=1,
                precision=self.settings.precision,
                logger=False,
                callbacks=list(callbacks),
                fast_dev_run=False,
                max_epochs=epochs,
                min_epochs=None,
                max_steps=-1,
                min_steps=None,
                max_time=None,
                limit_train_batches=1.0,
                limit_val_batches=1.0,
                limit_test_batches=1.0,
                limit_predict_batches=1.0,
                overfit_batches=0.0,
                val_check_interval=1.0,
                check_val_every_n_epoch=arguments.check_val_every_n_epoch,
                num_sanity_val_steps=0,
                log_every_n_steps=50,
                enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
                enable_progress_bar=False,
                enable_model_summary=False,
                accumulate_grad_batches=arguments.accumulate_grad_batches,
                gradient_clip_val=gradient_clip,
                gradient_clip_algorithm=arguments.gradient_clip_algorithm,
                deterministic=self.settings.deterministic,
                benchmark=self.settings.benchmark,
                inference_mode=True,
                use_distributed_sampler=False,
                profiler=self._profiler(label),
                detect_anomaly=self.settings.detect_anomaly,
                barebones=False,
                # A DDP strategy brings its own.
                plugins=[SafeCheckpointIO(), *([OneMachine(rank)] if rank == ONLY_RANK else [])],
                sync_batchnorm=False,
                reload_dataloaders_every_n_epochs=0,
                default_root_dir=empty.name,
                enable_autolog_hparams=False,
                model_registry=None,
            )
        trainer._signal_connector.register_signal_handlers = _leave_signals_alone  # type: ignore[method-assign]
        weakref.finalize(trainer, empty.cleanup)
        return trainer

    def _profiler(self, label: str) -> Profiler | None:
        if self.settings.profiler is None or self.profiles is None or not label:
            return None
        from pytorch_lightning.profilers import AdvancedProfiler, SimpleProfiler

        self.profiles.mkdir(exist_ok=True)
        profiler = SimpleProfiler if self.settings.profiler == "simple" else AdvancedProfiler
        return profiler(self.profiles, re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-"))

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
            **self._unusual(),
            **more,
        }

    def _unusual(self) -> dict[str, Any]:
        """Settings of execution that bits can depend on, where they are not the defaults."""
        names = ("deterministic", "benchmark")
        return {name: value for name in names if (value := getattr(self.settings, name)) is not False}

    @cached_property
    def device(self) -> torch.device:
        """The first device, on which everything but fits is computed.

        A trainer knows it, and to make one takes as long as ten cheap generations.
        """
        return self.trainer(()).strategy.root_device


def _leave_signals_alone() -> None:
    """Install no handlers: Lightning's would write checkpoints and requeue the job under SLURM."""


@contextmanager
def _no_callbacks_of_packages() -> Iterator[None]:
    """Within the block, trainers are made without the callbacks that installed packages register by entry points.

    No recipe would name them; and to look through all packages takes longer than all else of a trainer.
    """
    from pytorch_lightning.trainer.connectors import callback_connector

    before = callback_connector._load_external_callbacks
    callback_connector._load_external_callbacks = lambda group: []
    try:
        yield
    finally:
        callback_connector._load_external_callbacks = before


def _quiet_lightning() -> None:
    """Turn off Lightning's messages; its import turns them on."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()


def prepare_process(settings: TrainerSettings) -> None:
    """Fix arithmetic and thread count, tune the allocator and silence the libraries."""
    keep_freed_memory()
    use_plain_arithmetic()
    use_threads(settings.threads)
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torchmetrics)\b.*")
    quiet_transformers()
