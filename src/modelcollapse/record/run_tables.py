"""Reads the records of many runs into one table, for notebooks and for the report of a sweep."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.credentials import SECRET_NAME, without_secrets
from modelcollapse.record import GENERATION_KEYS, GENERATIONS_FILE, IDENTITY_FILE, number, read_lines
from modelcollapse.record.claiming import status_of

if TYPE_CHECKING:
    import pandas as pd


CHAIN_COLUMNS = ("experiment", "family", "model", "regime", "seed")
CONFIG_FILE = "config.yaml"
NO_SETTING_OF_A_CHAIN = (
    "seed",
    "name",
    "plan",
    "generations",
    "tracking",
    "paths",
    "store",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.threads",
    "trainer.scoring_batch_size",
    "trainer.progress",
    "model.family",
    "model.name",
    "regime.name",
    "data.name",
)
"""Settings and groups that make no other chain, or that the identity of the chain has already."""
NOT_COMPARED = ("metrics", "logger", "objective")
"""Groups that say what is looked at; a table of results has no columns for them."""


def results(path: str | os.PathLike[str], *, every_run: bool = False) -> pd.DataFrame:
    """Read every run at or below a folder into one table.

    Args:
        path: A run folder, or any folder above run folders: of a sweep, or all outputs.
        every_run: Whether every run of a chain keeps its rows. By default a chain that was run several times is there
            once: by its newest run that is finished, or else by the one that came furthest.

    Returns:
        One row per chain and generation, ordered by run and generation, with the columns ``run`` (the run's folder
        relative to ``path``), ``chain`` (the chain's id), ``status`` (``finished``, ``failed``, ``interrupted``,
        ``killed``, ``running``), ``experiment``, ``family``, ``model``, ``regime``, ``seed``, every setting in which
        the chains differ by its name, such as ``regime.real``, then ``generation`` and every metric by name; NaN where
        a run did not measure it. Group by ``regime`` and these settings to average over seeds.

    Raises:
        FileNotFoundError: There is no run folder at or below ``path``, or none that has finished a
            generation.
        ValueError: A line in the middle of a record is damaged.
    """
    import pandas as pd

    root = Path(path)
    folders = sorted(run_folders(root))
    wanted = f"a folder with {IDENTITY_FILE} and {GENERATIONS_FILE}"
    if not folders:
        reason = f"no run at or below {root}" if root.is_dir() else f"{root} is no folder"
        raise FileNotFoundError(f"{reason}: looked for {wanted}")
    runs = [run for folder in folders if (run := _read(folder, root)).lines]
    if not runs:
        raise FileNotFoundError(f"no finished generation in any of the {len(folders)} runs at or below {root}")
    if not every_run:
        runs = _each_chain_once(runs)
    differing = _differing(runs)
    rows = [row for run in runs for row in _rows(run, differing)]
    head = ["run", "chain", "status", *CHAIN_COLUMNS, *differing, "generation"]
    metrics = sorted({name for row in rows for name in row} - set(head))
    table = pd.DataFrame(rows, columns=[*head, *metrics])
    return table.sort_values(["run", "generation"], kind="stable", ignore_index=True)


def run_folders(root: Path) -> Iterator[Path]:
    """The run folders at or below a folder: those with an identity and lines of generations, in no order."""
    for folder, subfolders, files in os.walk(root):
        if IDENTITY_FILE in files and GENERATIONS_FILE in files:
            yield Path(folder)
            # What lies inside a run folder (figures, W&B's copies) holds no other run.
            subfolders.clear()


@dataclass(frozen=True)
class _Run:
    """A run folder, as far as a table needs it."""

    run: str
    identity: Mapping[str, Any]
    status: str
    settings: Mapping[str, Any]
    """Flat name -> value."""
    lines: Sequence[Mapping[str, Any]]
    written: float
    """When its identity was written last, in seconds since the epoch."""


def _read(folder: Path, root: Path) -> _Run:
    path = folder / IDENTITY_FILE
    try:
        identity: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        chain = {column: identity[column] for column in ("id", *CHAIN_COLUMNS)}
        settings = dict(chain_settings(read_configuration(folder)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder}: the record of this run is damaged: {error!r}") from error
    return _Run(
        run=folder.relative_to(root).as_posix() if folder != root else folder.resolve().name,
        identity=chain,
        status=status_of(folder, identity),
        settings={name: value for name, value in settings.items() if name.partition(".")[0] not in NOT_COMPARED},
        lines=read_lines(folder / GENERATIONS_FILE),
        written=path.stat().st_mtime,
    )


def read_configuration(folder: Path) -> Mapping[str, Any]:
    """The configuration of a run without secrets; empty where there is none. Raises ValueError where it is damaged."""
    import yaml

    path = folder / CONFIG_FILE
    try:
        read = yaml.load(path.read_text(encoding="utf-8"), _loader()) if path.is_file() else {}
    except yaml.YAMLError as error:
        raise ValueError(f"{CONFIG_FILE}: {error}") from error
    return without_secrets(read) if isinstance(read, dict) else {}


def _loader() -> Any:
    """YAML's safe loader; that of libyaml, which is ten times as fast, where it is installed."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def chain_settings(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Flat names and values, without those that make no other chain and without what is named like a secret."""
    for name, value in config.items():
        flat = f"{path}.{name}" if path else str(name)
        if flat in NO_SETTING_OF_A_CHAIN:
            continue
        if isinstance(value, Mapping):
            yield from chain_settings(value, flat)
        else:
            yield flat, "<hidden>" if SECRET_NAME.search(str(name)) else _canonical(value)


def _canonical(value: Any) -> Any:
    """2.0 as 2: the configuration keeps what was typed, and both mean the same chain."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _each_chain_once(runs: Sequence[_Run]) -> list[_Run]:
    """Of several runs of one chain the one that came furthest, finished before others, and of those the newest."""
    kept: dict[tuple[str, int], _Run] = {}
    for run in sorted(runs, key=lambda run: (run.status == "finished", len(run.lines), run.written)):
        kept[(str(run.identity["id"]), int(run.identity["seed"]))] = run
    return list(kept.values())


def _differing(runs: Sequence[_Run]) -> list[str]:
    """The settings that do not have one value in all runs, in the order in which they are composed."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]


def _cell(value: Any) -> Any:
    """A value by which rows can be grouped: lists are text."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _rows(run: _Run, differing: Sequence[str]) -> Iterator[dict[str, Any]]:
    chain = {column: run.identity[column] for column in CHAIN_COLUMNS}
    settings = {name: _cell(run.settings.get(name)) for name in differing}
    for line in run.lines:
        metrics = {name: number(value) for name, value in line.items() if name not in GENERATION_KEYS}
        head = {"run": run.run, "chain": run.identity["id"], "status": run.status}
        yield {**head, **chain, **settings, "generation": line["generation"], **metrics}
