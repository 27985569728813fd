"""Fitted parameters outside the store."""

from modelcollapse.families.estimators.estimator import (
    DIAGNOSTICS_FILE,
    GENERATIONS_FILE,
    SELECTION_FILE,
    STATES_FILE,
    SegmentStates,
)
from modelcollapse.families.exporting import Export

STATE_FILE = "state.safetensors"
READ_STATE = f"""```python
from safetensors.torch import load_file

parameters = load_file("{STATE_FILE}")  # name -> tensor [replicates, ...]
```
"""


def export(export: Export) -> str:
    """The parameters of the generation that was asked for; of all of the segment where none was."""
    if export.kind != "model" or export.generation is None:
        return ""
    from safetensors.torch import save_file

    state = SegmentStates.read(export.folder).state(export.generation)
    for name in (STATES_FILE, DIAGNOSTICS_FILE, GENERATIONS_FILE, SELECTION_FILE):
        (export.folder / name).unlink(missing_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, export.folder / STATE_FILE)
    return READ_STATE
