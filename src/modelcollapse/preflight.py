"""Checks that need the data, run before anything is fitted.

The inputs of a chain are built first: tokenizer, real data, published weights, and the fresh real data of every
generation. So an empty file, a reserve that is too small or a tokenizer that does not fit stops a
chain in its first seconds, not after days.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module

from modelcollapse.code_digests.house import as_locked, edited_code
from modelcollapse.config.settings import ChainSettings
from modelcollapse.errors import UserError, spoken
from modelcollapse.families.base import Family
from modelcollapse.families.populations.lineages import members_of
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
    families = members_of(settings, family)
    if not missing or not families[0].inputs():
        return []
    problems = dict.fromkeys(problem for each in families for problem in _input_problems(settings, each, store))
    if problems:
        raise SettingsError(list(problems))
    taken_in = [artifact for artifact in missing if artifact.work == "input"]
    for artifact in taken_in:
        store.obtain(artifact)
    return taken_in


def _input_problems(settings: ChainSettings, family: Family, store: Store) -> Iterator[str]:
    """What is wrong between the settings and the inputs of a family, which are built."""
    folders = {role: store.obtain(artifact) for role, artifact in family.inputs().items()}
    yield from family.input_problems(folders)
    rows = family.rows(folders["real"])
    yield from unavailable_rows(settings.regime, settings.generations, *rows, settings.selection.kept)


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


def refuse_hardware(trainer: TrainerSettings, store: Store, goals: Iterable[Artifact]) -> None:
    """Raise SettingsError where work is to be done on a device that this machine does not have."""
    if (problems := device_problems(trainer)) and store.missing(goals):
        raise SettingsError(problems)


def device_problems(trainer: TrainerSettings) -> list[str]:
    """Devices that are asked for and are not there; on a CPU devices are processes, and any number is allowed."""
    if trainer.accelerator == "cpu":
        return []
    if trainer.accelerator == "auto" and trainer.devices == 1 and trainer.precision != "16-mixed":
        # Whatever there is will do; to ask would import torch.
        return []
    import torch

    gpus, has_mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    there, problems = gpus or int(has_mps), []
    if trainer.accelerator == "gpu" and not there:
        build = "" if torch.version.cuda or torch.version.hip else f" (torch {torch.__version__} is built without)"
        problems.append(f"trainer.accelerator: 'gpu' is not on this machine{build}; it must be auto or cpu")
    if trainer.accelerator == "mps" and not has_mps:
        problems.append("trainer.accelerator: 'mps' is not on this machine; it must be auto, cpu or gpu")
    if trainer.precision == "16-mixed" and not there:
        problems.append(
            "trainer.precision: '16-mixed' needs a GPU, and this machine shows none; it must be 32-true or bf16-mixed"
        )
    if trainer.devices > there and trainer.devices > 1 and (there or trainer.accelerator != "auto"):
        problems.append(
            f"trainer.devices: {trainer.devices} GPUs are asked for, and this machine shows {there}; it must be at most"
            " that, or trainer.accelerator=cpu, where devices are processes"
        )
    return problems
