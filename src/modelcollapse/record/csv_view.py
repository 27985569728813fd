"""Tables of a run for spreadsheets: ``generations.csv`` and ``training.csv`` in the run folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modelcollapse.record.identity import ChainIdentity, View
from modelcollapse.store.files import write_whole


class CsvView(View):
    """Writes every generation's metrics and every epoch's line as a row of a CSV file, NaN as ``nan``.

    Columns are in the order in which they first appear; a row without a value leaves it empty.
    """

    label = "csv"

    def start(self, folder: Path, identity: ChainIdentity, config: Mapping[str, Any]) -> None:
        """Delete the tables of an earlier run: this one logs everything again."""
        self._generations, self._training = Table(folder / "generations.csv"), Table(folder / "training.csv")

    def epoch(self, line: Mapping[str, float]) -> None:
        """One row of ``training.csv``."""
        self._training.add(line)

    def generation(self, generation: int, metrics: Mapping[str, float], **more: Any) -> None:
        """One row of ``generations.csv``."""
        self._generations.add({"generation": generation, **metrics})


class Table:
    """A CSV file that grows by rows, and is written anew where a row brings new columns."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._path, self._columns = path, list[str]()

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row."""
        if new := [name for name in row if name not in self._columns]:
            self._widen(new)
        with self._path.open("a", newline="", encoding="utf-8") as file:
            file.write(self._text([row]))

    def _widen(self, new: Iterable[str]) -> None:
        rows = list(csv.DictReader(io.StringIO(self._path.read_text(encoding="utf-8")))) if self._columns else []
        self._columns += new
        header = dict(zip(self._columns, self._columns, strict=True))
        write_whole(self._path, self._text([header, *rows]).encode())

    def _text(self, rows: Iterable[Mapping[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue()
