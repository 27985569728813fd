"""The files of finished VAE artifacts, written and read back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from modelcollapse.families.vae.network import save_network
from modelcollapse.families.vae.recipes import LOSSES_FILE, MEASURED_FILE, NETWORK_FILE, TRAINING_FILE, StageContext
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
    (context.folder / TRAINING_FILE).write_text(written, encoding="utf-8")
    context.execution.update(stage.execution.facts(devices, batch_size=batch_size))


def read_lines(folder: Path) -> list[dict[str, float]]:
    """The lines of a fit's epochs."""
    return [json.loads(line) for line in (folder / TRAINING_FILE).read_text(encoding="utf-8").splitlines()]


def read_measured(folder: Path) -> dict[str, torch.Tensor]:
    """Measures of samples and real images, by name; see scoring.build_measures."""
    tensors: dict[str, torch.Tensor] = load_file(folder / MEASURED_FILE)
    return tensors


def read_losses(folder: Path) -> dict[str, torch.Tensor]:
    """Losses on the real splits, by name; see scoring.build_scores."""
    tensors: dict[str, torch.Tensor] = load_file(folder / LOSSES_FILE)
    return tensors
