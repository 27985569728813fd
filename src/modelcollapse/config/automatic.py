"""What ``auto`` means: which engine decodes, decided once, where a run or sweep is composed.

The engine is in the key of a synthetic set, so that no process of a run may find another: what is found here is written
into the settings, the record and the overrides of a sweep's chains.
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from modelcollapse.config.settings import ChainSettings
    from modelcollapse.training.settings import TrainerSettings

VISIBLE = "CUDA_VISIBLE_DEVICES"
NVIDIA, OTHER_GPUS = Path("/proc/driver/nvidia/gpus"), (Path("/dev/kfd"), Path("/dev/dxg"))
"""What is there where the driver of a GPU is: NVIDIA's; AMD's, and that of Windows for its Linux."""
SETTING = "trainer.auto_engine"

EngineName = Literal["native", "transformers"]


def visible_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that a process started here sees; found without importing a library of theirs."""
    if (named := os.environ.get(VISIBLE)) is not None:
        return [device.strip() for device in named.split(",") if device.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(NVIDIA.glob("*"))]


def with_engine(settings: "ChainSettings", values: dict[str, Any]) -> "tuple[ChainSettings, dict[str, Any]]":
    """The settings, and the configuration as plain values, with the engine written into both that ``auto`` means here.

    On a GPU it is transformers', until the project's own has run on one. ``auto`` stays where it is a CPU that decodes:
    there it takes the project's own engine for the models that this one knows.
    """
    if not is_automatic(settings):
        return settings, values
    engine, trainer = automatic_engine(settings.trainer), settings.trainer
    if trainer.accelerator == "auto":
        values = {**values, "trainer": {**values["trainer"], "auto_engine": engine}}
        settings = replace(settings, trainer=replace(trainer, auto_engine=engine))
    if engine == "transformers":
        values = {**values, "decoding": {**values["decoding"], "engine": engine}}
        settings = replace(settings, decoding=replace(settings.decoding, engine=engine))
    return settings, values


def is_automatic(settings: "ChainSettings") -> bool:
    """Whether the engine follows from the device."""
    return getattr(settings.decoding, "engine", None) == "auto"


def automatic_engine(trainer: "TrainerSettings") -> EngineName:
    """The engine that ``decoding.engine=auto`` means for models that both know."""
    if trainer.accelerator == "auto":
        return trainer.auto_engine or automatic_engine_here()
    return "native" if trainer.accelerator == "cpu" else "transformers"


def automatic_engine_here() -> EngineName:
    """The engine that ``decoding.engine=auto`` means with ``trainer.accelerator=auto``, on this machine."""
    return "transformers" if _has_gpu() else "native"


def handed_on(chains: "Iterable[ChainSettings]") -> tuple[str, ...]:
    """Overrides that let the processes of chains whose settings were read here find the engine that was found here."""
    found = {chain.trainer.auto_engine for chain in chains if chain.trainer.accelerator == "auto"} - {None}
    return tuple(f"{SETTING}={engine}" for engine in sorted(map(str, found))[:1])


def _has_gpu() -> bool:
    """Whether ``trainer.accelerator=auto`` finds a GPU; torch is asked only where there is a driver of one."""
    if not (sys.platform == "darwin" or visible_gpus() or any(path.exists() for path in OTHER_GPUS)):
        return False
    import torch

    # This count leaves CUDA alone, so that processes may still be forked.
    return torch.cuda.device_count() > 0 or torch.backends.mps.is_available()
