"""Digests of modules: which modules of a package some modules import, and what their code is."""

import gc
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from modelcollapse.code_digests.neutral import Neutral, matches
from modelcollapse.code_digests.serialization import serialized
from modelcollapse.code_digests.syntax import Imported, read_code


class ModuleFile(NamedTuple):
    """Where a module lies."""

    path: str
    is_package: bool


def imported_modules(
    source: str, module_name: str, package: bool, *, exists: Callable[[str], bool] = lambda name: False
) -> set[str]:
    """The absolute names of the modules that a module imports, inside functions too.

    Imports under ``if TYPE_CHECKING:`` are not counted, nor are modules that are named by a text at run time, as
    ``importlib.import_module`` allows. ``import a.b`` gives ``a.b`` and not ``a``.

    Args:
        source: the text of the module.
        module_name: its absolute name, from which relative imports go.
        package: whether it is the ``__init__`` of a package.
        exists: whether there is a module of this name. It decides whether ``from a import b`` gives ``a.b`` or
            ``a``, where ``b`` is something defined there.

    Raises:
        SyntaxError: ``source`` is not Python code.
        ImportError: a relative import goes beyond the top package.
    """
    return _absolute(read_code(source).imports, module_name, package, exists)


def module_closure(entries: Iterable[str], root_package: str, root_folder: Path, neutral: Neutral) -> tuple[str, ...]:
    """The modules of the root package that the entries import, directly or through others, and the entries.

    Neutral modules are neither counted nor entered. The ``__init__`` of a package counts where it is imported by
    its own name, not where a module below it is.

    Args:
        entries: absolute names of modules; ``package.*`` is the package and everything below it.
        root_package: the name of the package whose modules count, such as ``modelcollapse``.
        root_folder: the folder of that package, which holds its ``__init__.py``.
        neutral: the modules to leave out, and the functions whose imports do not count.

    Returns:
        Absolute names, sorted.

    Raises:
        LookupError: an entry names no module, or a neutral function is not defined in its module.
        SyntaxError: a file is not Python code.
    """
    return tuple(name for name, _ in _closure(entries, root_package, root_folder, neutral))


def modules_digest(entries: Iterable[str], root_package: str, root_folder: Path, neutral: Neutral) -> str:
    """SHA-256 of the code of :func:`module_closure`: the name of each module below the root package and its text.

    The text is that of :func:`~modelcollapse.code_digests.syntax.canonical_code` without neutral functions. What a
    file holds is read once a process as long as its size and time stay.

    Raises:
        LookupError: an entry names no module, or a neutral function is not defined in its module.
        SyntaxError: a file is not Python code.
    """
    digest = hashlib.sha256()
    for name, code in _closure(entries, root_package, root_folder, neutral):
        digest.update(f"{name.removeprefix(root_package)} {code.digest}\n".encode())
    return digest.hexdigest()


def module_files(root_package: str, root_folder: Path) -> dict[str, ModuleFile]:
    """The Python files at and below the folder of a package, by the absolute names of their modules."""
    found: dict[str, ModuleFile] = {}
    folders = [(root_package, os.fspath(root_folder))]
    while folders:
        package, folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, _, suffix = entry.name.rpartition(".")
                if entry.name == "__init__.py":
                    found[package] = ModuleFile(entry.path, True)
                elif stem and suffix == "py":
                    # A package is imported rather than the module of its name.
                    found.setdefault(f"{package}.{stem}", ModuleFile(entry.path, False))
                elif entry.name.isidentifier() and entry.name != "__pycache__" and entry.is_dir():
                    folders.append((f"{package}.{entry.name}", entry.path))
    return found


class _ModuleCode(NamedTuple):
    digest: str
    imports: tuple[Imported, ...]


_Version = tuple[str, int, int, int, frozenset[str]]
_known: dict[_Version, _ModuleCode] = {}


def _closure(
    entries: Iterable[str], root_package: str, root_folder: Path, neutral: Neutral
) -> list[tuple[str, _ModuleCode]]:
    files = module_files(root_package, root_folder)
    pending = _expanded(entries, files)
    found: dict[str, _ModuleCode] = {}
    with _collector_paused():
        while pending:
            name = pending.pop()
            if name in found or name not in files or neutral.has_module(name):
                continue
            file = files[name]
            found[name] = code = _module_code(file.path, neutral.functions_of(name))
            pending += _absolute(code.imports, name, file.is_package, files.__contains__)
    return sorted(found.items())


def _expanded(entries: Iterable[str], files: Iterable[str]) -> list[str]:
    expanded: list[str] = []
    for entry in entries:
        named = [name for name in files if matches(entry, name)]
        if not named:
            raise LookupError(f"there is no module {entry}")
        expanded += named
    return expanded


def _module_code(path: str, without: frozenset[str]) -> _ModuleCode:
    status = Path(path).stat()
    version = (path, status.st_ino, status.st_mtime_ns, status.st_size, without)
    if version not in _known:
        code = read_code(Path(path).read_bytes(), without=without, filename=path)
        text = serialized(code.tree)
        _known[version] = _ModuleCode(hashlib.sha256(text.encode()).hexdigest(), tuple(code.imports))
    return _known[version]


def _absolute(imports: Iterable[Imported], module: str, package: bool, exists: Callable[[str], bool]) -> set[str]:
    names = set()
    for each in imports:
        base = _base(each, module, package)
        submodule = f"{base}.{each.name}"
        names.add(submodule if each.name is not None and exists(submodule) else base)
    return names


def _base(each: Imported, module: str, package: bool) -> str:
    if not each.level:
        return each.module
    parts = module.split(".")
    length = len(parts) - each.level + package
    if length < 1:
        raise ImportError(f"{module}: the relative import of {'.' * each.level}{each.module} leaves the top package")
    return ".".join(parts[:length] + ([each.module] if each.module else []))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking the process's objects again and again while trees are built."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
