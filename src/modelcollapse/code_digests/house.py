"""Code identity: the version and digest of the code behind a key, for the package itself and for extensions.

The package's own code is digested by modules: what a stage or member is implemented in, and all modules that these
import, but for those that decide no number (:data:`NEUTRAL`). Code from outside is digested by objects: what was
registered, and all that it refers to.

A recipe holds a version and a digest. The lock, ``code.lock.json`` beside the package, lists for each version the
digests that were shown to give equal numbers, the one first locked in front, and it is the first that recipes hold:
code that is locked anew changes no key. Where the code's digest is not in the list, or there is no lock, recipes hold
the code's own digest: what an edit changes is made beside the old. :mod:`modelcollapse.commands.code_lock` locks.
"""

import ast
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelcollapse.code_digests.lock import Lock
from modelcollapse.code_digests.modules import imported_modules, module_closure, module_files, modules_digest
from modelcollapse.code_digests.neutral import Neutral
from modelcollapse.code_digests.objects import object_digest
from modelcollapse.code_digests.snapshot import SourceSnapshot, verify_files, verify_imported
from modelcollapse.code_digests.syntax import canonical_code

PACKAGE = "modelcollapse"
FOLDER = Path(__file__).parents[1]
LOCK_NAME = "code.lock.json"
SOURCES_FILE = "sources.json"
SNAPSHOT_VARIABLE = "MODELCOLLAPSE_SOURCES"
"""Environment variable that names the file of a snapshot: that of the process which started this one."""

_SETTINGS = "what settings hold stands in recipes, field by field"
_PEOPLE = "what people are shown"
NEUTRAL = Neutral.parse(
    {
        PACKAGE: "the public face",
        f"{PACKAGE}.api": "the public face",
        f"{PACKAGE}.__main__": "the command",
        f"{PACKAGE}.registry": "finds members by name; those that are used have digests of their own",
        f"{PACKAGE}.settings": _SETTINGS,
        f"{PACKAGE}.errors": "messages",
        f"{PACKAGE}.command_line": _PEOPLE,
        f"{PACKAGE}.console": _PEOPLE,
        f"{PACKAGE}.credentials": "takes secrets out of what people are shown",
        f"{PACKAGE}.surroundings": "keeps from results what does not stand in recipes",
        f"{PACKAGE}.output": _PEOPLE,
        f"{PACKAGE}.chain": "decides which artifacts there are; what each is made from stands in its recipe",
        f"{PACKAGE}.chain_session": "runs the loop over generations, and writes the record",
        f"{PACKAGE}.preflight": "looks at inputs before anything is made",
        f"{PACKAGE}.code_digests.*": "names code, and computes nothing else",
        f"{PACKAGE}.commands.*": _PEOPLE,
        f"{PACKAGE}.config.*": _SETTINGS,
        f"{PACKAGE}.figures.*": _PEOPLE,
        f"{PACKAGE}.interactive.*": _PEOPLE,
        f"{PACKAGE}.record.*": _PEOPLE,
        f"{PACKAGE}.report.*": _PEOPLE,
        f"{PACKAGE}.store.*": "files: what was written is what is read, or an error",
        f"{PACKAGE}.sweeps.*": "runs chains, which compute",
        f"{PACKAGE}.training.progress": "progress bars",
        f"{PACKAGE}.training.processes": "threads, memory and messages: execution, which the manifest holds",
    }
)
"""The code of the package that decides no number, each with the reason."""
NEUTRAL_NAMES = {
    "settings": _SETTINGS,
    "registration": "names members, and computes nothing",
    "presentation": _PEOPLE,
    "exporting": _PEOPLE,
    "figures": _PEOPLE,
    "report": _PEOPLE,
    "memory": "what is planned of a machine's memory",
    "expectations": "what plans say of sizes and times",
    "shapes": "what is shown of a network before it is read",
    "theory": "drawn beside what is measured",
    "recipes": "names artifacts; what it writes into a recipe is there to be seen",
    "stages": "each stage is digested by what it imports",
    "family": "declares artifacts; what each is made from stands in its recipe",
}
"""Modules of these names, wherever they lie in the package, decide no number either."""


@cache
def neutral() -> Neutral:
    """All modules and functions of the package that decide no number, with the reasons."""
    named = {
        name: NEUTRAL_NAMES[name.rpartition(".")[2]]
        for name in module_files(PACKAGE, FOLDER)
        if name.rpartition(".")[2] in NEUTRAL_NAMES
    }
    contract = {f"{PACKAGE}.families.{name}": "the contract between chain and families" for name in _CONTRACT}
    packages = {f"{PACKAGE}.{name}": "names what the package offers" for name in _PACKAGES}
    return Neutral({**named, **contract, **packages, **NEUTRAL.modules}, NEUTRAL.functions)


_PACKAGES = ("families", "data", "edits", "merges", "selections")
_CONTRACT = ("base", "options", "stage")

Code = str | Callable[..., Any] | type
"""``"module:name"`` or ``"module"`` of this package, or what was registered from outside: an object, or its place."""


def code_identity(name: str, version: int, code: Sequence[Code], without: Sequence[str] = ()) -> dict[str, int | str]:
    """The entry of a stage's or member's code in a recipe: its version and a digest.

    Args:
        name: what the lock calls it, such as ``stages/language_model.fit``.
        version: raised by hand when it comes to mean other numbers.
        code: what it is implemented in.
        without: functions of this package, ``module:function``, that it never runs though it imports their module.
    """
    code = tuple(map(foreign_object, code))
    lock = _lock_of(code)
    locked = lock.entries.get(name)
    if locked is None or locked.version != version:
        return lock.identity(name, version, code_digest(code, tuple(without)))
    if _AS_LOCKED.get():
        return {"version": version, "digest": locked.digests[0]}
    digest = code_digest(code, tuple(without))
    if digest not in locked.digests:
        _EDITED.add(name)
    return lock.identity(name, version, digest)


def foreign_object(part: Code) -> Code:
    """The object from outside that a place names, which is imported: objects are digested, not modules."""
    if not isinstance(part, str) or part.partition(".")[0] == PACKAGE:
        return part
    module, _, name = part.partition(":")
    found: Code = getattr(import_module(module), name)
    return found


@cache
def code_digest(code: tuple[Code, ...], without: tuple[str, ...] = ()) -> str:
    """SHA-256 of what a stage or member is implemented in and all that this imports or refers to, once a process.

    Raises SourceChanged where a file is no longer what it was when this run began.
    """
    verify_files(snapshot(), closure_of(code), module_files(PACKAGE, FOLDER))
    return digest_of_files(code, without)


def digest_of_files(code: Sequence[Code], without: Sequence[str] = ()) -> str:
    """The digest of some code as the files have it at this moment."""
    digests = [canonical_code(_text(part)) for part in code if _is_own_function(part)]
    digests += [object_digest(part, neutral=neutral()) for part in code if _is_foreign(part)]
    if entries := _entries(code):
        digests.append(modules_digest(entries, PACKAGE, FOLDER, _neutral_without(tuple(without))))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


@cache
def _neutral_without(functions: tuple[str, ...]) -> Neutral:
    """What decides no number, and functions that a stage never runs."""
    return replace(neutral(), functions={**neutral().functions, **dict.fromkeys(functions, "never run")})


def closure_of(code: Sequence[Code]) -> tuple[str, ...]:
    """The modules of this package that the digest of some code covers."""
    return module_closure(_entries(code), PACKAGE, FOLDER, neutral())


def _entries(code: Sequence[Code]) -> list[str]:
    """The modules of this package that some code is in, or that a function imports where it runs."""
    modules = [part.partition(":")[0] for part in code if isinstance(part, str)]
    for part in code:
        if _is_own_function(part):
            modules += sorted(_imports(_text(part), str(part.__module__)))
    return [name for name in modules if not neutral().has_module(name)]


def _is_own_function(part: Code) -> bool:
    return not isinstance(part, str) and str(part.__module__).partition(".")[0] == PACKAGE


def _is_foreign(part: Code) -> bool:
    return not isinstance(part, str) and not _is_own_function(part)


def _text(function: Any) -> str:
    """The source of a function of this package, as its file has it; without the decorator that makes it a stage."""
    source = Path(module_files(PACKAGE, FOLDER)[function.__module__].path).read_text(encoding="utf-8")
    functions = _functions_of(source)
    if function.__qualname__ not in functions:
        raise LookupError(f"{function.__module__} defines no function {function.__qualname__} at its top")
    return functions[function.__qualname__]


@lru_cache(maxsize=64)
def _functions_of(source: str) -> dict[str, str]:
    """Name -> text, without decorators, of the functions at the top of a module."""
    lines = source.splitlines(keepends=True)
    return {
        node.name: "".join(lines[node.lineno - 1 : node.end_lineno])
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }


def _imports(text: str, module: str) -> set[str]:
    """Modules of this package that a stage's function imports where it runs."""
    files = module_files(PACKAGE, FOLDER)
    found = imported_modules(text, module, package=False, exists=files.__contains__)
    return {name for name in found if name.partition(".")[0] == PACKAGE}


# ---- the lock ----------------------------------------------------------------------------------------------------

_EDITED: set[str] = set()


def edited_code() -> list[str]:
    """The locked stages and members that were asked for here, and whose code is no longer the locked one."""
    return sorted(_EDITED)


_AS_LOCKED: ContextVar[bool] = ContextVar("as_locked", default=False)


@contextmanager
def as_locked() -> Iterator[None]:
    """Within the block, code has the identity that is locked for its version, edited or not."""
    token = _AS_LOCKED.set(True)
    try:
        yield
    finally:
        _AS_LOCKED.reset(token)


def _lock_of(code: Sequence[Code]) -> Lock:
    """The lock of the package that the code belongs to; an empty one where it has none."""
    for part in code:
        if _is_foreign(part):
            return _read_lock(package_folder(str(getattr(part, "__module__", "")).partition(".")[0]))
    return _read_lock(FOLDER)


def package_folder(package: str) -> Path | None:
    """The folder of a package, found without importing it; None where there is no such package."""
    try:
        specification = find_spec(package)
    except (ValueError, ImportError):
        return None
    locations = specification.submodule_search_locations if specification else None
    return Path(next(iter(locations))) if locations else None


@cache
def _read_lock(folder: Path | None) -> Lock:
    return Lock.empty() if folder is None or not (folder / LOCK_NAME).is_file() else Lock.read(folder / LOCK_NAME)


# ---- the files that were digested --------------------------------------------------------------------------------


@cache
def snapshot() -> SourceSnapshot:
    """The files of this package as they were when the first process of this run or sweep began."""
    given = os.environ.get(SNAPSHOT_VARIABLE)
    if given and Path(given).is_file():
        return SourceSnapshot.from_json(Path(given).read_text(encoding="utf-8"))
    return SourceSnapshot.take(PACKAGE, FOLDER)


def hand_on_sources(folder: Path) -> None:
    """Write the snapshot into a run's or sweep's folder, for its record and for the processes that this one starts."""
    place = folder / SOURCES_FILE
    place.write_text(snapshot().to_json(), encoding="utf-8")
    os.environ.setdefault(SNAPSHOT_VARIABLE, str(place.resolve()))


def verify_sources() -> None:
    """Raise SourceChanged where a module was imported whose file is not the one that was digested."""
    verify_imported(snapshot())
