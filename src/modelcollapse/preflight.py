"""Checks that need the data, run before anything is fitted.

The inputs of a chain are built first: tokenizer, real data, published weights, and the fresh real data of every
generation. So an empty file, a reserve that is too small or a tokenizer that does not fit stops a
chain in its first seconds, not after days.
"""

from collections.abc import Callable, Iterable
from importlib import import_module

from modelcollapse.code_digests.house import as_locked, edited_code
from modelcollapse.config.settings import ChainSettings
from modelcollapse.errors import UserError, spoken
from modelcollapse.families.base import Family
from modelcollapse.regimes.availability import unavailable_rows
from modelcollapse.settings import SettingsError
from modelcollapse.store import Artifact, Store
from modelcollapse.store.artifacts import with_ancestors
from modelcollapse.training.settings import TrainerSettings


def prepare(settings: ChainSettings, family: Family, store: Store, goals: Iterable[Artifact]) -> list[Artifact]:
    """Build the inputs that missing goals need and check them against the settings; returns what was built.

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
    problems += unavailable_rows(settings.regime, settings.generations, *family.rows(folders["real"]))
    if problems:
        raise SettingsError(problems)
    taken_in = [artifact for artifact in missing if artifact.work == "input"]
    for artifact in taken_in:
        store.obtain(artifact)
    return taken_in


REDONE_SECONDS = 600.0
"""Seconds of finished work that are redone because of edited code without ``store.redo``."""


def refuse_to_redo(
    settings: ChainSettings,
    store: Store,
    declared: Iterable[Artifact],
    as_declared_before: Callable[[], Iterable[Artifact]],
) -> None:
    """Raise before more than REDONE_SECONDS of finished work is redone only because code was edited.

    Args:
        settings: of the chain; ``store.redo`` lets it be done again.
        store: where finished work is.
        declared: the artifacts of the chain as the code is now.
        as_declared_before: declares them anew; called where code is not the locked one, and it then seems to be.

    Raises:
        UserError: more than ten minutes of work that the store holds would be done again; the message names the code,
            the cost and what to do.
    """
    edited = edited_code()
    if settings.store.redo or not edited:
        return
    present = with_ancestors(declared)
    with as_locked():
        before = with_ancestors(as_declared_before())
    seconds = sum(store.manifest(artifact).seconds for artifact in before - present if store.has(artifact))
    if seconds <= REDONE_SECONDS:
        return
    raise UserError(
        f"the code of {', '.join(edited)} is not the one that was locked: {spoken(seconds)} of finished work in"
        f" {store.root} would be done again beside it. store.redo=true does that; where the edit changes no number,"
        f" lock it: python -m modelcollapse.commands.code_lock --equal {edited[0]}"
    )


def device_problems(trainer: TrainerSettings) -> list[str]:
    """Problems with ``trainer.devices`` on this machine; on a CPU devices are processes, and any number is allowed."""
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
