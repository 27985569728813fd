"""The record of a run: plain files in its own folder, and views (loggers) that receive the same data.

The record is local and complete; a view, such as Weights & Biases (:mod:`modelcollapse.record.wandb_view`), is
written from it. So a run without an account or a network loses nothing, and a chain whose generations were all in the
store shows the same curves as one that computed them.

A run folder holds

======================  =====================================================================================
``config.yaml``         the composed configuration
``chain.json``          which chain this is, the command line, the versions, the status
``generations.jsonl``   one line a generation: its metrics; on the disk (fsync) within a second
``training.jsonl``      one line an epoch
``histograms.jsonl``    one line a generation and distribution, as the views draw it
``samples.jsonl``       one line a sample, such as a continuation of a prompt
``timings.jsonl``       one line a stage: seconds, and whether it was computed now or taken from the store
``provenance.jsonl``    one line a generation: the keys of its artifacts
``progress.json``       how far the stage is that is being computed; there only while one is
``error.json``          the error that ended the run; there only where one did
``<name>.parquet``      tables
======================  =====================================================================================

together with documents and figures. All but ``chain.json``, ``timings.jsonl``, ``progress.json`` and ``error.json`` are
deterministic: equal values give equal bytes, without times. Paths are in ``config.yaml`` alone, as they were given.
Lines are strict JSON: NaN is written as ``null``, an infinity as the string ``"Infinity"`` or ``"-Infinity"``, and
:func:`number` reads all three back.

A run begins by starting these files anew; they are rebuilt from the store, so nothing is lost. A killed
process leaves at worst half a last line, which :func:`read_lines` leaves out.
"""

from modelcollapse.record.identity import IDENTITY_FILE, ChainIdentity, Status, View
from modelcollapse.record.lines import Histogram, each_line, histogram, number, read_lines
from modelcollapse.record.run_state import RunError, RunState, StageProgress, read_error, read_progress
from modelcollapse.record.views import views
from modelcollapse.record.writing import EPOCH_KEYS, GENERATION_KEYS, GENERATIONS_FILE, Record

__all__ = [
    "EPOCH_KEYS",
    "GENERATIONS_FILE",
    "GENERATION_KEYS",
    "IDENTITY_FILE",
    "ChainIdentity",
    "Histogram",
    "Record",
    "RunError",
    "RunState",
    "StageProgress",
    "Status",
    "View",
    "each_line",
    "histogram",
    "number",
    "read_error",
    "read_lines",
    "read_progress",
    "views",
]
