"""Language models and synthetic texts outside the store."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelcollapse.families.exporting import Export
from modelcollapse.families.language_model.recipes import TRAINING_FILE

if TYPE_CHECKING:
    import pyarrow as pa

SET_FILE = "synthetic.parquet"
ROWS_AT_ONCE = 4096
READ_MODEL = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model, tokenizer = (cls.from_pretrained(".") for cls in (AutoModelForCausalLM, AutoTokenizer))
```
"""
READ_SET = f"""```python
import pandas

rows = pandas.read_parquet("{SET_FILE}")  # a row a sequence: its token ids, and its text
```
"""


def export(export: Export) -> str:
    """A model as a Hugging Face folder, a synthetic set as a table of token ids and texts."""
    if export.kind in ("synthetic", "selected", "edited"):
        _write_set(export.folder, export.ancestor("tokenizer"))
        return READ_SET
    (export.folder / TRAINING_FILE).unlink(missing_ok=True)
    return READ_MODEL if (export.folder / "config.json").is_file() else ""


def _write_set(folder: Path, tokenizer: Path | None) -> None:
    """Replace the blocks by a Parquet file; without the tokenizer it holds no texts."""
    import pyarrow.parquet as pq

    from modelcollapse.data.blocks import FILE

    batches = _batches(folder, tokenizer)
    first = next(batches)
    with pq.ParquetWriter(folder / SET_FILE, first.schema) as writer:
        for batch in (first, *batches):
            writer.write_batch(batch)
    (folder / FILE).unlink()


def _batches(folder: Path, tokenizer_folder: Path | None) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    from modelcollapse.data.blocks import read_blocks
    from modelcollapse.data.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder) if tokenizer_folder else None
    for rows in read_blocks(folder, "blocks").split(ROWS_AT_ONCE):
        columns = {"tokens": pa.array(list(rows.numpy()), pa.list_(pa.int32()))}
        if tokenizer is not None:
            columns["text"] = pa.array(tokenizer.batch_decode(rows), pa.string())
        yield pa.RecordBatch.from_pydict(columns)
