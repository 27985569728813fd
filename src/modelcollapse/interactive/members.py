"""Registered members in the processes that a run or sweep starts: these import the files that members stand in."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelcollapse.config.settings import ChainSettings, used_members
from modelcollapse.registry import KINDS, SCRIPT_VARIABLE, Member
from modelcollapse.settings import SettingsError
from modelcollapse.store.files import write_whole

SCRIPT = "registered.py"
TEXT = '''"""Imports what the notebook or script of this sweep had imported, for the processes of its chains."""

import sys

sys.path[:0] = {folders}

{imports}

if __name__ == "__main__":
    import modelcollapse

    modelcollapse.main()
'''


@contextmanager
def importing_members(chains: Sequence[ChainSettings], folder: Path, processes: str) -> Iterator[None]:
    """Within the block, processes that are started register what the chains use and is registered here.

    Args:
        chains: the settings of all chains.
        folder: where a script that imports the members' files is written, if it takes one.
        processes: by which setting processes are started, for the message; where it is empty none are.

    Raises:
        SettingsError: a member stands in no file.
    """
    if not processes:
        yield
        return
    members = {(each.kind, each.name): each for chain in chains for each in used_members(chain)}
    outside = [member for member in members.values() if not member.is_built_in and not _is_installed(member)]
    if problems := [_advice(member, processes) for member in outside if not Path(member.origin).is_file()]:
        raise SettingsError(problems)
    before = os.environ.get(SCRIPT_VARIABLE)
    try:
        if outside:
            os.environ[SCRIPT_VARIABLE] = str(_script(outside, folder))
        yield
    finally:
        if before is None:
            os.environ.pop(SCRIPT_VARIABLE, None)
        else:
            os.environ[SCRIPT_VARIABLE] = before


def processes_of(chains: Iterable[ChainSettings]) -> str:
    """The setting by which the chains' own work starts processes; empty where none does."""
    for chain in chains:
        if chain.trainer.devices > 1:
            return f"trainer.devices={chain.trainer.devices}"
        if (workers := getattr(chain.decoding, "workers", 1)) > 1:
            return f"decoding.workers={workers}"
    return ""


def _is_installed(member: Member) -> bool:
    """Whether an entry point registers it in every process; its origin is then a distribution and its version."""
    return " " in member.origin and not Path(member.origin).is_absolute()


def _advice(member: Member, processes: str) -> str:
    return (
        f"{processes}: {KINDS[member.kind]} {member.name!r} is defined in this notebook, which other processes cannot"
        " import; put it in a file beside the notebook and import that, or do without other processes (jobs=1,"
        " trainer.devices=1, decoding.workers=1)"
    )


def _script(members: Iterable[Member], folder: Path) -> Path:
    """The script that is running, where it is one, which imports all it needs; else one that is written now."""
    running = getattr(sys.modules["__main__"], "__file__", None)
    if running and any(Path(member.origin) == Path(running).resolve() for member in members):
        return Path(running).resolve()
    modules = dict.fromkeys(sys.modules[_module(member)] for member in members)
    folders = list(dict.fromkeys(str(_root(module)) for module in modules))
    imports = "\n".join(f"import {module.__name__}" for module in modules)
    place = folder / SCRIPT
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(place, TEXT.format(folders=repr(folders), imports=imports).encode())
    return place.resolve()


def _module(member: Member) -> str:
    """The module that registered the member."""
    implementation = member.implementation
    return implementation.partition(":")[0] if isinstance(implementation, str) else implementation.__module__


def _root(module: Any) -> Path:
    """The folder below which a module is imported by its name."""
    file = Path(module.__file__).resolve()
    depth = module.__name__.count(".") + (file.stem == "__init__")
    return file.parents[depth]
