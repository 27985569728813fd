"""What was kept by a selection, as its artifact holds it: apart from choosing, because every fit reads it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

KEPT_FILE = "kept.safetensors"


class Kept(NamedTuple):
    """The places of a selected set: which candidate stands there, and what it weighs."""

    rows: torch.Tensor
    """Numbers of candidates [places] int64; one may stand in several places."""
    weights: torch.Tensor
    """[places] float64 with mean 1; all 1 where the rule weighs nothing."""


def read_kept(folder: Path) -> Kept:
    """The places of a finished selected set."""
    return Kept(**load_file(folder / KEPT_FILE))


def place_weights(synthetic: Path) -> np.ndarray | None:
    """What the places of a synthetic set weigh [places], mean 1; None where it was not selected, or not weighed."""
    if not (synthetic / KEPT_FILE).is_file():
        return None
    weights = read_kept(synthetic).weights
    return None if bool((weights == 1).all()) else weights.numpy()
