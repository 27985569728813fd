"""Files of a report: each is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from modelcollapse.figures.style import save
from modelcollapse.store.files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def write_table(table: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write a table as ``<name>.parquet`` and ``<name>.csv``; NaN is ``nan`` and infinities ``inf`` in the latter."""
    import pyarrow as pa
    from pyarrow import csv

    whole = pa.Table.from_pandas(table, preserve_index=False)
    plain = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in whole.schema]
    schema = pa.schema(list(zip(whole.schema.names, plain, strict=True)))
    buffer = pa.BufferOutputStream()
    csv.write_csv(whole.cast(schema), buffer, csv.WriteOptions(quoting_style="needed"))
    return [
        write_whole(folder / f"{name}.parquet", table.to_parquet(index=False)),
        write_whole(folder / f"{name}.csv", buffer.getvalue().to_pybytes()),
    ]


def write_figures(figures: Iterable[tuple[str, Figure]], folder: Path) -> list[Path]:
    """Write each figure as PNG and PDF; figures of an earlier report that this one does not have go away."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with TemporaryDirectory(dir=folder.parent, prefix=".figures.") as temporary:
        for name, figure in figures:
            for path in save(figure, Path(temporary), name):
                written.append(path.replace(folder / path.name))
    for path in folder.iterdir():
        if path.suffix in (".png", ".pdf") and path not in written:
            path.unlink()
    return written
