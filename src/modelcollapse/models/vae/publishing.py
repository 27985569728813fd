"""How a finished fit, and what was measured, are written into their pieces."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from modelcollapse.models.vae.bench import Bench
from modelcollapse.models.vae.files import MEASURED_FILE, METRICS_FILE, NETWORK_FILE, TRAINING_FILE
from modelcollapse.models.vae.network import save_network
from modelcollapse.store import Workshop


def publish_fit(
    bench: Bench,
    workshop: Workshop,
    network: torch.nn.Module,
    lines: Sequence[Mapping[str, float]],
    batch_size: int,
    devices: int,
) -> None:
    """Write the weights, the lines of the epochs, and how the fit was executed."""
    save_network(network, workshop.folder / NETWORK_FILE)
    written = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    (workshop.folder / TRAINING_FILE).write_text(written)
    workshop.execution.update(bench.execution.facts(devices, batch_size=batch_size))


def read_lines(folder: Path) -> list[dict[str, float]]:
    """The lines of a fit's epochs."""
    return [json.loads(line) for line in (folder / TRAINING_FILE).read_text().splitlines()]


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write flat metrics."""
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1, sort_keys=True))


def read_metrics(folder: Path) -> dict[str, float]:
    """The metrics of a finished piece."""
    metrics: dict[str, float] = json.loads((folder / METRICS_FILE).read_text())
    return metrics


def write_measured(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write the tensors behind the metrics: latent means, and images for the figures."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / MEASURED_FILE)


def read_measured(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors behind the metrics of a finished piece."""
    tensors: dict[str, torch.Tensor] = load_file(folder / MEASURED_FILE)
    return tensors
