"""The record of a run: plain files in its own folder, and the views that are shown the same things.

The record is local and complete; a view (Weights & Biases, :mod:`modelcollapse.tracking`) is written from
it. Everything a view shows passes through here first, so a run without an account or a network loses
nothing, and a chain whose generations all came out of the store shows the same curves as one that computed
them.

A run folder holds

======================  =====================================================================================
``config.yaml``         the composed configuration
``chain.json``          which chain this is, the command line, the versions, the status
``generations.jsonl``   one line a generation: its metrics; on the disk (fsync) within a second
``training.jsonl``      one line an epoch
``histograms.jsonl``    one line a generation and distribution, as the views draw it
``samples.jsonl``       one line a sample, such as a continuation of a prompt
``timings.jsonl``       one line a stage: seconds, and whether it was computed now or taken from the store
``provenance.jsonl``    one line a generation: the keys of its pieces
``<name>.parquet``      tables
======================  =====================================================================================

together with documents and figures. All but ``chain.json`` and ``timings.jsonl`` are deterministic: equal
values give equal bytes, without times and without paths. Lines are strict JSON: NaN is written as ``null``,
an infinity as the string ``"Infinity"`` or ``"-Infinity"``, and :func:`number` reads all three back.

A run begins by starting these files anew; they are rebuilt from the store, so nothing is lost. A killed
process leaves at worst half a last line, which :func:`read_lines` leaves out.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, SupportsFloat

from modelcollapse.secrets import SECRET_NAME as SECRET_NAME
from modelcollapse.secrets import without_secrets

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Status = Literal["finished", "interrupted", "failed"]

IDENTITY_FILE = "chain.json"
GENERATIONS_FILE = "generations.jsonl"
GENERATION_KEYS = ("generation", "seed", "regime")
EPOCH_KEYS = ("generation", "epoch", "step", "cumulative_step")
HISTOGRAM_BINS = 64
SYNC_SECONDS = 1.0
"""A power failure loses the lines of so many seconds at most: a cheap generation takes no longer than a sync."""
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


@dataclass(frozen=True)
class Histogram:
    """A distribution as it is drawn: bins of equal width over the finite values."""

    counts: tuple[int, ...]
    """Values per bin."""
    edges: tuple[float, ...]
    """Bin edges, one more than there are bins."""
    nonfinite: int
    """How many values were NaN or infinite, and are in no bin."""


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


class Record:
    """The files of one run, and the views that are shown the same things.

    A context manager: leaving it finishes the run as ``finished``, as ``interrupted`` (after a
    ``KeyboardInterrupt`` or ``SystemExit``) or as ``failed`` (after any other exception).

    Args:
        folder: The run folder; made if missing. Lines of an earlier run in it are dropped.
        identity: Which chain this is.
        config: The composed configuration, of plain types. Values of environment variables that hold
            secrets are replaced by the variable's name, see :mod:`modelcollapse.secrets`.
        views: Who is shown the run.
    """

    def __init__(
        self, folder: Path, identity: ChainIdentity, config: Mapping[str, Any], views: Sequence[View] = ()
    ) -> None:
        self.folder = folder
        self.identity = identity
        self._views = tuple(views)
        self._epochs: set[tuple[int, int]] = set()
        self._generations: set[int] = set()
        self._fit = _Fit(generation=-1, first_step=0, last_step=0)
        self._finished = False
        folder.mkdir(parents=True, exist_ok=True)
        shown_config = without_secrets(config)
        self._write_identity("running")
        _write_file(folder / "config.yaml", _yaml(shown_config))
        self._generation_lines = _Lines(folder / GENERATIONS_FILE, durable=True)
        self._training_lines = _Lines(folder / "training.jsonl")
        self._histogram_lines = _Lines(folder / "histograms.jsonl")
        self._sample_lines = _Lines(folder / "samples.jsonl")
        self._timing_lines = _Lines(folder / "timings.jsonl")
        self._provenance_lines = _Lines(folder / "provenance.jsonl")
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
        """Write what one epoch of the fit of ``generation`` measured; an epoch told again is left out.

        Args:
            generation: Which generation is being fitted; generations come in order.
            line: Metrics under flat names, with ``epoch`` and with ``step``, the optimiser steps done so
                far within this fit. The record adds ``cumulative_step``: the steps of all earlier fits of
                the chain on top, an axis that never restarts.

        Raises:
            ValueError: ``epoch`` or ``step`` is missing, a name is reserved, or an earlier generation is
                told after a later one.
        """
        if missing := {"epoch", "step"} - line.keys():
            raise ValueError(f"an epoch's line needs {sorted(missing)}; it has {sorted(line)}")
        epoch, step = int(line["epoch"]), int(line["step"])
        if (generation, epoch) in self._epochs:
            return
        self._fit = self._fit.advanced(generation, step)
        metrics = _metrics({k: v for k, v in line.items() if k not in ("epoch", "step")}, EPOCH_KEYS)
        head = zip(EPOCH_KEYS, (generation, epoch, step, self._fit.first_step + step), strict=True)
        written: dict[str, float] = {**dict(head), **metrics}
        self._training_lines.write(written)
        self._epochs.add((generation, epoch))
        for view in self._views:
            view.epoch(written)

    def timing(self, generation: int, stage: str, seconds: float, *, computed: bool, key: str, **more: Any) -> None:
        """Write how long one stage took.

        Args:
            generation: Which generation.
            stage: Such as ``fit``, ``score``, ``synthesise``.
            seconds: Wall-clock.
            computed: Whether the work was done now; otherwise it was taken from the store.
            key: The store's key of the piece.
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
        pieces: Mapping[str, str] | None = None,
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        """Write one finished generation. Its line of metrics comes last: where it is, all the rest is.

        Args:
            generation: Which generation; each is told once.
            metrics: Numbers under flat names, such as ``test/perplexity``.
            distributions: Arrays of any shape, written as the histogram that the views draw; keep the
                values themselves with :meth:`table`. Bins have equal widths: hand over logarithms for what
                has a long tail.
            samples: Flat mappings of plain values, such as a prompt and its continuation.
            pieces: Role (``model``, ``synthetic``, ...) to store key; goes to ``provenance.jsonl``.
            folders: Role to folder in the store, for views that attach manifests; written nowhere.

        Raises:
            ValueError: The generation was already told, or a metric's name is reserved.
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
        pieces = dict(sorted((pieces or {}).items()))
        self._provenance_lines.write({"generation": generation, **pieces})
        self._generation_lines.write({**head, **plain})
        self._generations.add(generation)
        for view in self._views:
            view.generation(
                generation,
                plain,
                histograms=histograms,
                samples=samples,
                pieces=pieces,
                folders=folders or {},
            )

    def table(self, name: str, frame: pd.DataFrame) -> Path:
        """Write a table as ``<name>.parquet``, without its index; returns the path."""
        path = self._inside(f"{name}.parquet")
        _write_file(path, frame.to_parquet(index=False))
        return path

    def document(self, name: str, text: str) -> Path:
        """Write a text such as ``continuations.md``; returns the path."""
        path = self._inside(name)
        _write_file(path, text.encode())
        return path

    def figure(self, path: Path) -> None:
        """Announce an image file that was drawn into the run folder.

        Raises:
            FileNotFoundError: There is no such file.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no figure at {path}")
        for view in self._views:
            view.figure(path)

    def finish(self, status: Status) -> None:
        """Close the files, write the status into ``chain.json``, tell the views; do so only once."""
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
        content = {
            **asdict(self.identity),
            "status": status,
            "command_line": without_secrets(shlex.join(sys.argv)),
            "versions": _versions(),
        }
        _write_file(self.folder / IDENTITY_FILE, (json.dumps(content, indent=2) + "\n").encode())

    def _inside(self, name: str) -> Path:
        if Path(name).name != name:
            raise ValueError(f"{name!r} is no plain file name")
        return self.folder / name


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; a last line without its end, of a killed or a living process, is left out.

    Raises:
        ValueError: Any other line is damaged.
    """
    whole_lines = path.read_bytes().split(b"\n")[:-1]
    lines = []
    for position, line in enumerate(whole_lines, start=1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {position}, is damaged: {error}") from error
    return lines


def number(value: float | str | None) -> float:
    """The number that a line holds: ``null`` is NaN, ``"Infinity"`` and ``"-Infinity"`` the infinities."""
    return math.nan if value is None else float(value)


def histogram(values: np.ndarray) -> Histogram:
    """Count values into :data:`HISTOGRAM_BINS` bins of equal width between their extremes.

    Args:
        values: Numbers in any shape; NaN and infinities are counted apart.
    """
    import numpy as np

    flat = np.asarray(values, dtype=np.float64).ravel()
    finite = flat[np.isfinite(flat)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    magnitude = max(1.0, abs(low), abs(high))
    # A collapsed distribution can be narrower than 64 representable bins, which numpy refuses.
    margin = 0.5 * magnitude if high - low < 1e-12 * magnitude else 0.0
    counts, edges = np.histogram(finite, bins=HISTOGRAM_BINS, range=(low - margin, high + margin))
    return Histogram(tuple(counts.tolist()), tuple(edges.tolist()), nonfinite=int(flat.size - finite.size))


@dataclass(frozen=True)
class _Fit:
    """The fit whose epochs are being told, and where it begins on the axis of all fits of the chain."""

    generation: int
    first_step: int
    last_step: int

    def advanced(self, generation: int, step: int) -> _Fit:
        if generation < self.generation:
            raise ValueError(f"an epoch of generation {generation} told after one of {self.generation}")
        if generation == self.generation:
            return _Fit(generation, self.first_step, max(step, self.last_step))
        return _Fit(generation, self.first_step + self.last_step, step)


class _Lines:
    """A file of JSON lines that one process appends to; opening it starts it anew."""

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        # A new file renamed over the old one: a second process in the same folder gets a file of its own,
        # and lines of two processes never mix.
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._file = temporary.open("wb")
        temporary.replace(path)
        self._durable = durable
        self._synced, self._is_behind = -SYNC_SECONDS, False

    def write(self, line: Mapping[str, Any]) -> None:
        try:
            text = json.dumps(line, allow_nan=False)
        except (TypeError, ValueError):
            text = json.dumps({name: _encoded(value) for name, value in line.items()}, allow_nan=False)
        self._file.write(text.encode() + b"\n")
        self._file.flush()
        self._is_behind = self._durable
        if self._is_behind and time.monotonic() - self._synced >= SYNC_SECONDS:
            self._sync()

    def close(self) -> None:
        if self._is_behind:
            self._sync()
        self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced, self._is_behind = time.monotonic(), False


def _encoded(value: Any) -> Any:
    """The value as strict JSON holds it; a number of numpy or torch becomes a plain one."""
    if value is None or isinstance(value, (str, bool, list, tuple, dict)):
        return value
    if isinstance(value, Integral):
        return int(value)
    plain = float(value)
    if math.isnan(plain):
        return None
    if math.isinf(plain):
        return "Infinity" if plain > 0 else "-Infinity"
    return plain


def _metrics(metrics: Mapping[str, SupportsFloat], reserved: Sequence[str]) -> dict[str, float]:
    """Metrics as floats in the order of their names: 3 and 3.0, 0.0 and -0.0 are equal and read the same."""
    if taken := sorted(metrics.keys() & set(reserved)):
        raise ValueError(f"metrics may not be named {taken}")
    if str in set(map(type, metrics.values())):
        words = sorted(name for name, value in metrics.items() if isinstance(value, str))
        raise TypeError(f"metrics are numbers; {words} are text")
    return {name: float(metrics[name]) + 0.0 for name in sorted(metrics)}


def _versions() -> dict[str, str]:
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in VERSIONED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _yaml(config: Mapping[str, Any]) -> bytes:
    import yaml

    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()


def _write_file(path: Path, content: bytes) -> None:
    """Write a whole file or none: into a temporary file beside it, synced, renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
