"""The files inside language-model pieces: their names, and what a finished score holds."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

TRAINING_FILE = "training.jsonl"
METRICS_FILE = "metrics.json"
SEQUENCES_FILE = "sequences.safetensors"
CONTINUATIONS_FILE = "continuations.json"


def read_metrics(folder: Path) -> dict[str, float]:
    """Metrics of a finished score."""
    metrics: dict[str, float] = json.loads((folder / METRICS_FILE).read_text())
    return metrics


def read_sequences(folder: Path) -> dict[str, np.ndarray]:
    """Mean loss in nats per token of every sequence of a finished score."""
    sequences: dict[str, np.ndarray] = load_file(folder / SEQUENCES_FILE)
    return sequences
