"""VAEs and their images outside the store."""

import json

from modelcollapse.families.exporting import Export
from modelcollapse.families.vae.recipes import NETWORK_FILE, TRAINING_FILE
from modelcollapse.merges.recipes import MERGED

SETTINGS_FILE = "architecture.json"
READ_MODEL = f"""```python
import json
from pathlib import Path

from modelcollapse.families.vae.network import load_network
from modelcollapse.families.vae.settings import VaeArchitectureSettings

settings = json.loads(Path("{SETTINGS_FILE}").read_text())
network = load_network(VaeArchitectureSettings(**settings), Path("{NETWORK_FILE}"))
```
"""
READ_SET = """```python
from safetensors.torch import load_file

images = load_file("images.safetensors")["train_images"]  # float16 [images, 28, 28], 0 to 255
```
"""
READ_STREAM = """The images are not stored: they are drawn from the decoder wherever they are needed, batch by
batch. `decoder.safetensors` holds its weights, `stream.json` how many images it stands for.
"""


def export(export: Export) -> str:
    """Weights with the settings of the network beside them; images as they are stored."""
    (export.folder / TRAINING_FILE).unlink(missing_ok=True)
    if export.kind in ("model", MERGED):
        architecture = json.dumps(export.manifest.recipe["architecture"], indent=1)
        (export.folder / SETTINGS_FILE).write_text(architecture + "\n", encoding="utf-8")
        return READ_MODEL
    if export.kind == "synthetic":
        return READ_SET if (export.folder / "images.safetensors").is_file() else READ_STREAM
    return ""
