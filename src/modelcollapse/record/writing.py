"""The record of a run: every number it reports, written to files and then passed to the views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, SupportsFloat

from modelcollapse.credentials import without_secrets
from modelcollapse.populations.members import member_name
from modelcollapse.record.identity import IDENTITY_FILE, ChainIdentity, Status, View, identity_text
from modelcollapse.record.lines import Lines, histogram
from modelcollapse.record.views import SafeView
from modelcollapse.store.files import delete_abandoned, write_whole

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

GENERATIONS_FILE = "generations.jsonl"
GENERATION_KEYS = ("generation", "seed", "regime")
EPOCH_KEYS = ("generation", "epoch", "step", "cumulative_step")


class Record:
    """Writes the files of one run, and passes the same data to its views.

    A context manager: leaving it finishes the run as ``finished``, as ``interrupted`` (after a
    ``KeyboardInterrupt`` or ``SystemExit``) or as ``failed`` (after any other exception).

    Args:
        folder: The run folder; made if missing. Lines of an earlier run in it are dropped.
        identity: Which chain this is.
        config: The composed configuration, of plain types. Values of environment variables that hold
            secrets are replaced by the variable's name, see :mod:`modelcollapse.credentials`.
        views: Who is shown the run; one that fails is warned of once and shown no more.
    """

    def __init__(
        self, folder: Path, identity: ChainIdentity, config: Mapping[str, Any], views: Sequence[View] = ()
    ) -> None:
        self.folder = folder
        self.identity = identity
        self._views = tuple(map(SafeView, views))
        self._epochs: set[tuple[int, int, int | None]] = set()
        self._generations: set[int] = set()
        self._fit = _Fit(generation=-1, first_step=0, last_step=0)
        self._finished = False
        folder.mkdir(parents=True, exist_ok=True)
        delete_abandoned(folder)
        shown_config = without_secrets(config)
        self._write_identity("running")
        write_whole(folder / "config.yaml", _yaml(shown_config))
        self._generation_lines = Lines(folder / GENERATIONS_FILE, durable=True)
        self._training_lines = Lines(folder / "training.jsonl")
        self._histogram_lines = Lines(folder / "histograms.jsonl")
        self._sample_lines = Lines(folder / "samples.jsonl")
        self._timing_lines = Lines(folder / "timings.jsonl")
        self._provenance_lines = Lines(folder / "provenance.jsonl")
        for view in self._views:
            view.start(folder, identity, shown_config)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish("finished")
        else:
            self.finish("failed" if issubclass(kind, Exception) else "interrupted")

    def epoch(self, generation: int, line: Mapping[str, float]) -> None:
        """Write what one epoch of the fit of ``generation`` measured; an epoch reported again is left out.

        Args:
            generation: Which generation is being fitted; generations come in order.
            line: Metrics under flat names, with ``epoch`` and with ``step``, the optimiser steps done so
                far within this fit. The record adds ``cumulative_step``: the steps of all earlier fits of
                the chain on top, an axis that never restarts. With ``member``, of a population, the names of
                the metrics are written with the member's before them.

        Raises:
            ValueError: ``epoch`` or ``step`` is missing, a name is reserved, or an earlier generation is
                reported after a later one.
        """
        if missing := {"epoch", "step"} - line.keys():
            raise ValueError(f"an epoch's line needs {sorted(missing)}; it has {sorted(line)}")
        epoch, step, member = int(line["epoch"]), int(line["step"]), _member(line)
        if (generation, epoch, member) in self._epochs:
            return
        self._fit = self._fit.advanced(generation, step)
        measured = {k: v for k, v in line.items() if k not in ("epoch", "step", "member")}
        metrics = _metrics(measured if member is None else _of_member(measured, member), EPOCH_KEYS)
        head = zip(EPOCH_KEYS, (generation, epoch, step, self._fit.first_step + step), strict=True)
        written: dict[str, float] = {**dict(head), **metrics}
        self._training_lines.write(written)
        self._epochs.add((generation, epoch, member))
        for view in self._views:
            view.epoch(written)

    def timing(self, generation: int, stage: str, seconds: float, *, computed: bool, key: str, **more: Any) -> None:
        """Write how long one stage took.

        Args:
            generation: Which generation.
            stage: Such as ``fit``, ``score``, ``synthesise``.
            seconds: Wall-clock.
            computed: Whether the work was done now; otherwise it was taken from the store.
            key: The store's key of the artifact.
            **more: Such as ``tokens_per_second``.
        """
        line = {
            "generation": generation,
            "stage": stage,
            "seconds": seconds,
            "computed": computed,
            "key": key,
        }
        line |= dict(sorted(more.items()))
        self._timing_lines.write(line)
        for view in self._views:
            view.timing(line)

    def generation(
        self,
        generation: int,
        metrics: Mapping[str, float],
        *,
        distributions: Mapping[str, np.ndarray] | None = None,
        samples: Sequence[Mapping[str, Any]] = (),
        artifacts: Mapping[str, str] | None = None,
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        """Write one finished generation. Its line of metrics comes last: where it is, all the rest is.

        Args:
            generation: Which generation; each is reported once.
            metrics: Numbers under flat names, such as ``test/perplexity``.
            distributions: Arrays of any shape, written as the histogram that the views draw; keep the
                values themselves with :meth:`table`. Bins have equal widths: hand over logarithms for what
                has a long tail.
            samples: Flat mappings of plain values, such as a prompt and its continuation.
            artifacts: Role (``model``, ``synthetic``, ...) to store key; goes to ``provenance.jsonl``.
            folders: Role to folder in the store, for views that attach manifests; written nowhere.

        Raises:
            ValueError: The generation was already reported, or a metric's name is reserved.
            TypeError: A metric is no number.
        """
        if generation in self._generations:
            raise ValueError(f"generation {generation} was already recorded")
        head = dict(zip(GENERATION_KEYS, (generation, self.identity.seed, self.identity.regime), strict=True))
        plain = _metrics(metrics, GENERATION_KEYS)
        histograms = {name: histogram(values) for name, values in sorted((distributions or {}).items())}
        for name, drawn in histograms.items():
            self._histogram_lines.write({"generation": generation, "name": name, **vars(drawn)})
        for sample in samples:
            self._sample_lines.write({"generation": generation, **dict(sorted(sample.items()))})
        artifacts = dict(sorted((artifacts or {}).items()))
        self._provenance_lines.write({"generation": generation, **artifacts})
        self._generation_lines.write({**head, **plain})
        self._generations.add(generation)
        for view in self._views:
            view.generation(
                generation,
                plain,
                histograms=histograms,
                samples=samples,
                artifacts=artifacts,
                folders=folders or {},
            )

    def table(self, name: str, frame: pd.DataFrame) -> Path:
        """Write a table as ``<name>.parquet``, without its index; returns the path."""
        path = self._inside(f"{name}.parquet")
        write_whole(path, frame.to_parquet(index=False))
        return path

    def document(self, name: str, text: str) -> Path:
        """Write a text such as ``continuations.md``; returns the path."""
        path = self._inside(name)
        write_whole(path, text.encode())
        return path

    def figure(self, path: Path) -> None:
        """Pass an image file of the run folder to the views.

        Raises:
            FileNotFoundError: There is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no figure at {path}")
        for view in self._views:
            view.figure(path)

    def finish(self, status: Status) -> None:
        """Close the files, write the status into ``chain.json``, close the views; do so only once."""
        if self._finished:
            return
        self._finished = True
        for lines in (
            self._generation_lines,
            self._training_lines,
            self._histogram_lines,
            self._sample_lines,
            self._timing_lines,
            self._provenance_lines,
        ):
            lines.close()
        self._write_identity(status)
        for view in self._views:
            view.finish(status)

    def _write_identity(self, status: str) -> None:
        write_whole(self.folder / IDENTITY_FILE, identity_text(self.identity, status).encode())

    def _inside(self, name: str) -> Path:
        if Path(name).name != name:
            raise ValueError(f"{name!r} is no plain file name")
        return self.folder / name


@dataclass(frozen=True)
class _Fit:
    """The fit whose epochs are being reported, and where it begins on the axis of all fits of the chain."""

    generation: int
    first_step: int
    last_step: int

    def advanced(self, generation: int, step: int) -> _Fit:
        if generation < self.generation:
            raise ValueError(f"an epoch of generation {generation} reported after one of {self.generation}")
        if generation == self.generation:
            return _Fit(generation, self.first_step, max(step, self.last_step))
        return _Fit(generation, self.first_step + self.last_step, step)


def _member(line: Mapping[str, float]) -> int | None:
    return int(line["member"]) if "member" in line else None


def _of_member(metrics: Mapping[str, float], member: int) -> dict[str, float]:
    return {member_name(member, name): value for name, value in metrics.items()}


def _metrics(metrics: Mapping[str, SupportsFloat], reserved: Sequence[str]) -> dict[str, float]:
    """Metrics as floats in the order of their names: 3 and 3.0, 0.0 and -0.0 are equal and read the same."""
    if taken := sorted(metrics.keys() & set(reserved)):
        raise ValueError(f"metrics may not be named {taken}")
    if str in set(map(type, metrics.values())):
        words = sorted(name for name, value in metrics.items() if isinstance(value, str))
        raise TypeError(f"metrics are numbers; {words} are text")
    return {name: float(metrics[name]) + 0.0 for name in sorted(metrics)}


def _yaml(config: Mapping[str, Any]) -> bytes:
    import yaml

    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()
