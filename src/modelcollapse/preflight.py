"""What only the data can tell, looked at before anything is fitted.

Everything that is taken in rather than learnt is made first: tokenizer, real data, published weights, and the fresh
real data of every generation. So an empty file, a reserve that is too small or a tokenizer that does not fit stops a
chain in its first seconds, not after days.
"""

from collections.abc import Iterable
from importlib import import_module

from modelcollapse.config.settings import ChainSettings
from modelcollapse.families.base import Family
from modelcollapse.regimes.availability import rows_that_cannot_be_had
from modelcollapse.settings import SettingsError
from modelcollapse.store import Artifact, Store
from modelcollapse.training.settings import TrainerSettings


def prepare(settings: ChainSettings, family: Family, store: Store, goals: Iterable[Artifact]) -> list[Artifact]:
    """Make what the missing ones of the goals take in, and check that it goes together; returns what was made.

    Raises:
        UserError: the data cannot be used.
        SettingsError: they can, but not with these settings.
    """
    missing = store.missing(goals)
    if missing:
        # Takes seconds, which would be counted to the artifact that needs it first. A finished chain does without.
        import_module("pytorch_lightning")
    inputs = family.inputs()
    if not missing or not inputs:
        return []
    if problems := device_problems(settings.trainer):
        raise SettingsError(problems)
    folders = {role: store.obtain(artifact) for role, artifact in inputs.items()}
    problems = list(family.input_problems(folders))
    problems += rows_that_cannot_be_had(settings.regime, settings.generations, *family.rows(folders["real"]))
    if problems:
        raise SettingsError(problems)
    taken_in = [artifact for artifact in missing if artifact.work == "input"]
    for artifact in taken_in:
        store.obtain(artifact)
    return taken_in


def device_problems(trainer: TrainerSettings) -> list[str]:
    """What is wrong with ``trainer.devices`` on this machine; on a CPU they are processes, and may be any number."""
    if trainer.devices == 1 or trainer.accelerator == "cpu":
        return []
    import torch

    there = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if trainer.devices <= there or (there == 0 and trainer.accelerator == "auto"):
        return []
    return [
        f"trainer.devices: {trainer.devices} GPUs are asked for, and this machine shows {there}; it must be at most"
        " that, or trainer.accelerator=cpu, where devices are processes"
    ]
