"""The identity of a run: its chain, its status, its command line and versions."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol

from modelcollapse.command_line import typed_line
from modelcollapse.credentials import without_secrets
from modelcollapse.record.lines import Histogram

Status = Literal["finished", "interrupted", "failed"]

IDENTITY_FILE = "chain.json"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif")
"""Figures of these kinds are shown by the views; others stay in the run folder."""
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
    """The identity of a chain, as the record and its views hold it."""

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
    """Tags of the user, to find the chain by."""
    extensions: tuple[Mapping[str, Any], ...] = ()
    """Extensions that the chain uses: kind, name, origin, version and digest of each."""
    command_line: str = field(default_factory=lambda: typed_line())
    """The command, or the call of a function of this package, that the run was started by."""


def identity_text(identity: ChainIdentity, status: str) -> str:
    """What ``chain.json`` holds: the chain, its status, the command line without secrets, and versions."""
    content = {
        **asdict(identity),
        "status": status,
        "command_line": without_secrets(identity.command_line),
        "versions": versions(),
    }
    return json.dumps(content, indent=2) + "\n"


def versions() -> dict[str, str]:
    """Python, this package and the libraries that decide what it computes -> their versions in this process."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in VERSIONED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


class View(Protocol):
    """Somebody who watches a run. Called after the record has written the same thing to its files.

    Tables and documents are not announced: they lie in the run folder, whole, when ``finish`` is called.
    """

    def start(self, folder: Path, identity: ChainIdentity, config: Mapping[str, Any]) -> None:
        """The run begins; ``config`` holds no secrets."""

    def epoch(self, line: Mapping[str, float]) -> None:
        """One line of ``training.jsonl``, each epoch once."""

    def timing(self, line: Mapping[str, Any]) -> None:
        """One line of ``timings.jsonl``."""

    def generation(
        self,
        generation: int,
        metrics: Mapping[str, float],
        *,
        histograms: Mapping[str, Histogram],
        samples: Sequence[Mapping[str, Any]],
        artifacts: Mapping[str, str],
        folders: Mapping[str, Path],
    ) -> None:
        """One finished generation; arguments as for :meth:`Record.generation`."""

    def figure(self, path: Path) -> None:
        """An image file that was drawn."""

    def finish(self, status: Status) -> None:
        """The run ends; its files are complete and closed."""
