"""The views (loggers) of a run besides its own files; a view that fails never stops the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.record.identity import ChainIdentity, Status, View
from modelcollapse.record.lines import Histogram
from modelcollapse.record.registration import WANDB
from modelcollapse.record.tracking import TrackingSettings

if TYPE_CHECKING:
    from modelcollapse.registry import Choice

logger = logging.getLogger(__name__)


def views(tracking: TrackingSettings, loggers: Sequence[Choice] = ()) -> list[View]:
    """The views of a run: W&B according to ``tracking``, and the registered loggers that were chosen.

    W&B is there where ``tracking`` says so, whether it is among the loggers or not; elsewhere none of it is imported.
    """
    chosen: list[View] = [choice.build() for choice in loggers if choice.name != WANDB]
    if tracking.kind == "none":
        return chosen
    from modelcollapse.record.wandb_view import WandbView

    return [WandbView(tracking), *chosen]


class SafeView:
    """Wraps a view: its first failure is logged as a warning, later calls do nothing, and the run goes on.

    The record is complete all the same, and the same command run again shows it.
    """

    def __init__(self, view: View) -> None:
        self._view, self._is_dark = view, False
        self._label = getattr(view, "label", type(view).__name__)

    def start(self, folder: Path, identity: ChainIdentity, config: Mapping[str, Any]) -> None:
        """See :class:`~modelcollapse.record.View`, as for all others."""
        self._show("start", folder, identity, config)

    def epoch(self, line: Mapping[str, float]) -> None:
        """An epoch's line."""
        self._show("epoch", line)

    def timing(self, line: Mapping[str, Any]) -> None:
        """A stage's line."""
        self._show("timing", line)

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
        """A finished generation."""
        more = {"histograms": histograms, "samples": samples, "artifacts": artifacts, "folders": folders}
        self._show("generation", generation, metrics, **more)

    def figure(self, path: Path) -> None:
        """An image file."""
        self._show("figure", path)

    def finish(self, status: Status) -> None:
        """The end of the run."""
        self._show("finish", status)

    def _show(self, what: str, *arguments: Any, **named: Any) -> None:
        if self._is_dark:
            return
        try:
            getattr(self._view, what)(*arguments, **named)
        except Exception as error:
            self._is_dark = True
            logger.warning("%s is off from here on; the run's own files are not affected: %s", self._label, error)
