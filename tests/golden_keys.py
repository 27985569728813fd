"""The keys of every shipped experiment's first generations, and of chains with options that no experiment has.

``python tests/golden_keys.py`` writes them anew.
"""

import json
import sys
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir

from modelcollapse.chain import chain_generations, chain_id
from modelcollapse.config.composing import HYDRA_VERSION_BASE, settings_of
from modelcollapse.config.extensions import configuration_folder
from modelcollapse.families import family_for
from modelcollapse.training.trainer import Execution

FILE = Path(__file__).with_suffix(".json")
EXPERIMENTS = sorted(path.stem for path in (configuration_folder() / "experiment").glob("*.yaml"))
REVISION = "27dcfa74d334bc871f3234de431e71c6eeba5dd6"
PUBLISHED = ("model.pretrained=facebook/opt-125m", f"model.revision={REVISION}")
TRAINING_SETS = ("selection=drayson", "regime=accumulate")
OPTIONS = {
    "quickstart, training sets": ("experiment=quickstart", *TRAINING_SETS, "decoding=sample"),
    "paper_vae, training sets": ("experiment=paper_vae", *TRAINING_SETS, "model.synthesis=fixed"),
}
"""Name -> overrides of chains that no experiment stands for."""
BASE_TEXT = "One paragraph a line.\nAnother one.\n"


def keys(folder):
    """Name -> chain id, and the keys of generations 0 and 1 by role."""
    text = Path(folder) / "base.txt"
    text.write_bytes(BASE_TEXT.encode())
    own = {"small_opt": (f"model.base.text={text}",), "real_text": PUBLISHED}
    shipped = {name: (f"experiment={name}", *own.get(name, ())) for name in EXPERIMENTS}
    return {name: experiment_keys(*overrides) for name, overrides in {**shipped, **OPTIONS}.items()}


def experiment_keys(*overrides):
    with initialize_config_dir(str(configuration_folder()), version_base=HYDRA_VERSION_BASE):
        settings, _ = settings_of(compose("train", overrides=[*overrides, "generations=1", "trainer.accelerator=cpu"]))
    family = family_for(settings, Execution(settings.trainer, None))
    found = {
        f"{generation.number} {role}": artifact.key
        for generation in chain_generations(settings, family)
        for role, artifact in generation.artifacts.items()
    }
    # The path of the base's text stands in the id, its content in the keys.
    return found if "small_opt" in overrides[0] else {"chain": chain_id(settings), **found}


def main():
    with tempfile.TemporaryDirectory() as folder:
        FILE.write_text(json.dumps(keys(folder), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
