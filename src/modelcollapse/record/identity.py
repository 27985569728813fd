"""Which chain a run is of, how it ended, and with what it was run."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Literal

from modelcollapse.secrets import without_secrets

Status = Literal["finished", "interrupted", "failed"]

IDENTITY_FILE = "chain.json"
VERSIONED_PACKAGES = (
    "modelcollapse",
    "torch",
    "pytorch-lightning",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "scikit-learn",
    "wandb",
)


@dataclass(frozen=True)
class ChainIdentity:
    """Which chain a run is of."""

    id: str
    """Stable: the same chain has the same id in every run of it."""
    experiment: str
    """The experiment the chain belongs to."""
    family: str
    """The model family, such as ``language`` or ``mixture``."""
    model: str
    """The model within the family, such as ``facebook/opt-125m``."""
    regime: str
    """The rule that composes the training set of each generation."""
    seed: int
    """The seed of the chain."""
    tags: tuple[str, ...] = ()
    """Words of the user's own to find the chain by."""


def identity_text(identity: ChainIdentity, status: str) -> str:
    """What ``chain.json`` holds: the chain, its status, the command line without secrets, and versions."""
    content = {
        **asdict(identity),
        "status": status,
        "command_line": without_secrets(shlex.join(sys.argv)),
        "versions": _versions(),
    }
    return json.dumps(content, indent=2) + "\n"


def _versions() -> dict[str, str]:
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in VERSIONED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
