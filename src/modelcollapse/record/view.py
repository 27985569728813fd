"""What somebody who watches a run is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from modelcollapse.record.histograms import Histogram
from modelcollapse.record.identity import ChainIdentity, Status


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
        pieces: Mapping[str, str],
        folders: Mapping[str, Path],
    ) -> None:
        """One finished generation; arguments as for :meth:`Record.generation`."""

    def figure(self, path: Path) -> None:
        """An image file that was drawn."""

    def finish(self, status: Status) -> None:
        """The run ends; its files are complete and closed."""
