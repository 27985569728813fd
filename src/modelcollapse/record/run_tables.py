"""Reads the records of many runs into one table, for notebooks and for the report of a sweep."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.record import GENERATION_KEYS, GENERATIONS_FILE, IDENTITY_FILE, number, read_lines

if TYPE_CHECKING:
    import pandas as pd


CHAIN_COLUMNS = ("experiment", "family", "model", "regime", "seed")


def results(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read every run at or below a folder into one table.

    Args:
        path: A run folder, or any folder above run folders: of a sweep, or all outputs.

    Returns:
        One row per run and generation, ordered by both, with the columns ``run`` (the run's folder relative
        to ``path``), ``experiment``, ``family``, ``model``, ``regime``, ``seed``, ``generation`` and then
        every metric by name; NaN where a run did not measure it. Two runs of one chain keep a row each.

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
    rows = [row for folder in folders for row in _rows(folder, root)]
    if not rows:
        raise FileNotFoundError(f"no finished generation in any of the {len(folders)} runs at or below {root}")
    head = ["run", *CHAIN_COLUMNS, "generation"]
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


def _rows(folder: Path, root: Path) -> Iterator[dict[str, Any]]:
    identity = json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8"))
    run = folder.relative_to(root).as_posix() if folder != root else folder.resolve().name
    for line in read_lines(folder / GENERATIONS_FILE):
        metrics = {name: number(value) for name, value in line.items() if name not in GENERATION_KEYS}
        chain = {column: identity[column] for column in CHAIN_COLUMNS}
        yield {"run": run, **chain, "generation": line["generation"], **metrics}
