"""Reads the chains of a sweep from their run folders: identity, progress, measurements."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcollapse.credentials import without_secrets
from modelcollapse.errors import UserError
from modelcollapse.record import GENERATION_KEYS, GENERATIONS_FILE, IDENTITY_FILE, each_line, number, read_lines
from modelcollapse.record.run_tables import chain_settings, read_configuration, run_folders

if TYPE_CHECKING:
    import pandas as pd

CONFIG_FILE, METRICS_FILE, HISTOGRAMS_FILE = "config.yaml", "metrics.json", "histograms.jsonl"


@dataclass(frozen=True)
class Measurements:
    """What a chain measured: a row a generation, a column a metric."""

    generations: np.ndarray
    """The finished generations, rising, [G]."""
    metrics: Sequence[str]
    """Flat names, sorted."""
    values: np.ndarray
    """[G, M]; NaN also where nothing was recorded."""
    recorded: np.ndarray
    """[G, M]; whether the generation's line has the metric."""


@dataclass(frozen=True)
class ReportChain:
    """One run folder."""

    sweep: str
    """Name of the sweep it belongs to."""
    folder: Path
    run: str
    """Folder of the run within the sweep."""
    identity: Mapping[str, Any]
    """``chain.json``."""
    settings: Mapping[str, Any]
    """The settings that make the chain what it is, but for its seed: flat name -> plain value."""
    wanted: int | None
    """The last generation that was asked for; None where the configuration does not say."""
    measured: Measurements
    possible: Mapping[str, tuple[float, float]]
    """Smallest and largest possible value of metrics, by their names without the subject."""

    @property
    def seed(self) -> int:
        """Seed of the chain."""
        return int(self.identity["seed"])

    @property
    def missing(self) -> list[int]:
        """Generations that were asked for and are not there."""
        if self.wanted is None:
            return []
        return sorted(set(range(self.wanted + 1)) - set(self.measured.generations.tolist()))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Lines of one of the record's files, without secrets; none where there is no such file.

        Raises UserError where the file is damaged.
        """
        path = self.folder / name
        if not path.is_file():
            return []
        try:
            lines: list[dict[str, Any]] = without_secrets(read_lines(path))
        except ValueError as error:
            raise UserError(f"{error}; {REPAIR}") from error
        for position, line in enumerate(lines, start=1):
            if not _is_sound(name, line):
                raise _damaged_line(path, position)
        return lines

    def histograms(self) -> Iterator[RecordedHistogram]:
        """The recorded histograms, one at a time: of a sweep they are many, and each is a hundred numbers.

        Raises UserError where the file is damaged.
        """
        path = self.folder / HISTOGRAMS_FILE
        names: dict[str, str] = {}
        try:
            for position, line in enumerate(each_line(path) if path.is_file() else (), start=1):
                if (found := _histogram(line)) is None:
                    raise _damaged_line(path, position)
                if found.name not in names:
                    names[found.name] = without_secrets(found.name)
                yield replace(found, name=names[found.name])
        except ValueError as error:
            raise UserError(f"{error}; {REPAIR}") from error

    def table(self, name: str) -> pd.DataFrame:
        """One of the record's tables. Raises UserError where the file is damaged."""
        import pandas as pd

        path = self.folder / f"{name}.parquet"
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: is damaged: {' '.join(str(error).split())}; {REPAIR}") from error


@dataclass(frozen=True)
class RecordedHistogram:
    """One distribution of a generation as a run recorded it."""

    generation: int
    name: str
    counts: np.ndarray
    """Values per bin, [B]."""
    edges: np.ndarray
    """Bin edges, rising, [B + 1]."""


class NothingToReport(UserError):
    """No chain has finished a generation."""


REPAIR = "the run's own command writes its record again, from the store"


def _damaged_line(path: Path, position: int) -> UserError:
    return UserError(f"{path}, line {position}, is damaged: it is not what a run writes there; {REPAIR}")


def _is_sound(name: str, line: Any) -> bool:
    """Whether a line has what a report reads of it."""
    if not isinstance(line, dict) or not _is_whole(line.get("generation")):
        return False
    if name == "timings.jsonl":
        return _is_number(line.get("seconds")) and isinstance(line.get("key"), str) and "computed" in line
    return True


def _histogram(line: Any) -> RecordedHistogram | None:
    """The histogram of a line; None where the line is none."""
    if not isinstance(line, dict) or not _is_whole(line.get("generation")) or not isinstance(line.get("name"), str):
        return None
    counts, edges = _numbers(line.get("counts"), "i"), _numbers(line.get("edges"), "if")
    if counts is None or edges is None or len(edges) != len(counts) + 1:
        return None
    if (counts < 0).any() or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        return None
    return RecordedHistogram(line["generation"], line["name"], counts, edges)


def _numbers(values: Any, kinds: str) -> np.ndarray | None:
    """A list of numbers of one of numpy's kinds as an array; None where it is no such list."""
    if not isinstance(values, list):
        return None
    try:
        found = np.asarray(values)
    except ValueError:
        return None
    return found if found.ndim == 1 and found.dtype.kind in kinds else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_chains(folders: Sequence[Path]) -> list[ReportChain]:
    """The chains at or below the folders, those of a sweep in the order of its numbers.

    Of several runs of one chain in a sweep the one that came furthest is taken, and of those the last.

    Raises:
        NothingToReport: A folder holds no run, or no generation is finished anywhere.
        UserError: A folder is missing, or a record is damaged.
    """
    chains = [
        chain
        for folder, name in zip(folders, sweep_names(folders), strict=True)
        for chain in _of_sweep(Path(folder), name)
    ]
    if not any(chain.measured.generations.size for chain in chains):
        raise NothingToReport(
            f"{_listed(folders)}: there is nothing to report, none of {len(chains)} chains has finished a generation"
        )
    return chains


def sweep_names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: the shortest end of its path that is unique."""
    parts = [Path(folder).resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"{_listed(folders)}: the same sweep twice cannot be compared")


def _of_sweep(folder: Path, sweep: str) -> list[ReportChain]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; a report is made of a folder with runs in it")
    runs = sorted(run_folders(folder), key=lambda run: _natural(run.relative_to(folder).as_posix()))
    if not runs:
        wanted = f"a folder with {IDENTITY_FILE} and {GENERATIONS_FILE}"
        raise NothingToReport(f"{folder}: there is nothing to report, no run lies there ({wanted})")
    return _without_repetitions(_chain(run, folder, sweep) for run in runs)


def _without_repetitions(chains: Iterable[ReportChain]) -> list[ReportChain]:
    kept: dict[str, ReportChain] = {}
    for chain in chains:
        what = json.dumps([chain.identity["id"], chain.seed, chain.settings], sort_keys=True)
        other = kept.get(what)
        if other is None or chain.measured.generations.size >= other.measured.generations.size:
            kept[what] = chain
    return list(kept.values())


def _chain(folder: Path, sweep_folder: Path, sweep: str) -> ReportChain:
    try:
        identity = without_secrets(json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8")))
        measured = _measurements(read_lines(folder / GENERATIONS_FILE))
        config = read_configuration(folder)
        possible = _possible_values(folder)
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{folder}: the record of this run is damaged: {error}") from error
    run = folder.relative_to(sweep_folder).as_posix() if folder != sweep_folder else folder.resolve().name
    wanted = config.get("generations")
    return ReportChain(
        sweep=sweep,
        folder=folder,
        run=run,
        identity=identity,
        settings=dict(chain_settings(config)),
        wanted=wanted if isinstance(wanted, int) else None,
        measured=measured,
        possible=possible,
    )


def _possible_values(folder: Path) -> dict[str, tuple[float, float]]:
    path = folder / METRICS_FILE
    recorded = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {
        name: (-math.inf if low is None else float(low), math.inf if high is None else float(high))
        for metric in recorded.values()
        for name, (low, high) in metric.get("possible", {}).items()
    }


def _measurements(lines: Sequence[Mapping[str, Any]]) -> Measurements:
    ordered = sorted(lines, key=lambda line: line["generation"])
    metrics = sorted({name for line in ordered for name in line} - set(GENERATION_KEYS))
    places = {name: place for place, name in enumerate(metrics)}
    values = np.full((len(ordered), len(metrics)), np.nan)
    recorded = np.zeros(values.shape, dtype=bool)
    for row, line in enumerate(ordered):
        for name, value in line.items():
            if name in places:
                values[row, places[name]], recorded[row, places[name]] = number(value), True
    return Measurements(np.array([line["generation"] for line in ordered], dtype=int), metrics, values, recorded)


def _natural(text: str) -> list[tuple[int, int | str]]:
    """A key by which run 10 comes after run 9."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part]


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)
