"""The folder ``.hydra`` of a run, as Hydra's users know it, written once the settings are accepted.

Hydra would write it before the job has read its settings, secrets and all. Here it is written by the job, so that a run
that is refused, or only planned, leaves nothing behind.
"""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from modelcollapse.credentials import without_secrets

LEFT_OUT = ("help", "hydra_help")
"""Texts of ``--help``."""


def write_hydra_files(folder: Path, config: DictConfig) -> None:
    """Write ``config.yaml``, ``hydra.yaml`` and ``overrides.yaml`` into the folder that ``hydra.output_subdir`` names.

    ``config.yaml`` is the composed configuration with its references as they are written, ``hydra.yaml`` that of Hydra
    itself, ``overrides.yaml`` what was typed. With ``hydra.output_subdir=null`` nothing is written.
    """
    of_hydra = HydraConfig.get()
    if of_hydra.output_subdir is None:
        return
    target = folder / of_hydra.output_subdir
    target.mkdir(parents=True, exist_ok=True)
    own: Any = OmegaConf.to_container(of_hydra, resolve=False, enum_to_str=True)
    contents = {
        "config.yaml": OmegaConf.to_container(config, resolve=False),
        "hydra.yaml": {"hydra": {name: value for name, value in own.items() if name not in LEFT_OUT}},
        "overrides.yaml": list(own["overrides"]["task"]),
    }
    for name, values in contents.items():
        text = OmegaConf.to_yaml(OmegaConf.create(without_secrets(values)))
        (target / name).write_text(text, encoding="utf-8")
