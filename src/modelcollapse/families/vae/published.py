"""The files of finished VAE artifacts, written and read back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from modelcollapse.families.vae.network import (
    save_network,
)
from modelcollapse.families.vae.recipes import (
    MEASURED_FILE,
    METRICS_FILE,
    NETWORK_FILE,
    TRAINING_FILE,
    StageContext,
)
from modelcollapse.store import BuildContext


def publish_fit(
    stage: StageContext,
    context: BuildContext,
    network: torch.nn.Module,
    lines: Sequence[Mapping[str, float]],
    batch_size: int,
    devices: int,
) -> None:
    """Write the weights, the lines of the epochs, and how the fit was executed."""
    save_network(network, context.folder / NETWORK_FILE)
    written = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    (context.folder / TRAINING_FILE).write_text(written)
    context.execution.update(stage.execution.facts(devices, batch_size=batch_size))


def read_lines(folder: Path) -> list[dict[str, float]]:
    """The lines of a fit's epochs."""
    return [json.loads(line) for line in (folder / TRAINING_FILE).read_text().splitlines()]


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write flat metrics."""
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1, sort_keys=True))


def read_metrics(folder: Path) -> dict[str, float]:
    """The metrics of a finished artifact."""
    metrics: dict[str, float] = json.loads((folder / METRICS_FILE).read_text())
    return metrics


def write_measured(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write the tensors behind the metrics: latent means, and images for the figures."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / MEASURED_FILE)


def read_measured(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors behind the metrics of a finished artifact."""
    tensors: dict[str, torch.Tensor] = load_file(folder / MEASURED_FILE)
    return tensors
