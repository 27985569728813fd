"""A snapshot of source files, to notice when a module is imported whose source is no longer the one digested."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from modelcollapse.code_digests.modules import ModuleFile, module_files


class SourceChanged(Exception):
    """A source file changed after the digests of the run were taken."""


@dataclass(frozen=True)
class SourceSnapshot:
    """SHA-256 of the files of all modules of a package, at one moment."""

    root_package: str
    files: Mapping[str, str]
    """The checksum of the file of each module, by absolute name."""
    _passed: set[str] = field(default_factory=set, compare=False, repr=False)
    """Modules that need no look any more: verified, or of other packages."""

    @classmethod
    def take(cls, root_package: str, root_folder: Path) -> "SourceSnapshot":
        """Read every file at and below the folder of the package (the one that holds its ``__init__.py``)."""
        files = module_files(root_package, root_folder)
        return cls(root_package, {name: _checksum(file.path) for name, file in sorted(files.items())})

    def to_json(self) -> str:
        """The snapshot as text, for a child process or a job."""
        return json.dumps({"root_package": self.root_package, "files": dict(self.files)})

    @classmethod
    def from_json(cls, text: str) -> "SourceSnapshot":
        """Read what :meth:`to_json` gave.

        Raises:
            ValueError: it is another text.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or set(content) != {"root_package", "files"}:
            raise ValueError("not a snapshot of source files")
        return cls(content["root_package"], content["files"])


def verify_files(snapshot: SourceSnapshot, names: Iterable[str], files: Mapping[str, ModuleFile]) -> None:
    """Compare the files of some modules with the snapshot.

    Raises:
        SourceChanged: one is no longer the file of the snapshot; the message names all such modules.
    """
    changed = [name for name in names if snapshot.files.get(name) != _checksum(files[name].path)]
    if changed:
        raise SourceChanged(_message(changed))


def verify_imported(snapshot: SourceSnapshot, modules: Mapping[str, Any] | None = None) -> None:
    """Compare the files of the package's modules that were imported since the last call with the snapshot.

    A file that changed and was imported before its first verification is noticed unless it was changed back. Modules
    without a Python file are not looked at.

    Args:
        snapshot: the files at the time when the digests were taken; it keeps which modules need no other look.
        modules: the imported modules by name, ``sys.modules`` by default.

    Raises:
        SourceChanged: a file is no longer the one of the snapshot, or was added or removed since; the message names
            all such modules.
    """
    changed = []
    for name, file in _imported(snapshot.root_package, sys.modules if modules is None else modules, snapshot._passed):
        try:
            is_equal = snapshot.files.get(name) == _checksum(file)
        except FileNotFoundError:
            is_equal = False
        if is_equal:
            snapshot._passed.add(name)
        else:
            changed.append(f"{name} ({file})")
    if changed:
        raise SourceChanged(_message(changed))


def _message(changed: Iterable[str]) -> str:
    return (
        f"the source changed since this run began: {', '.join(sorted(changed))}. "
        "Its artifacts would bear the name of other code: start the command again"
    )


def _imported(root_package: str, modules: Mapping[str, Any], passed: set[str]) -> Iterable[tuple[str, str]]:
    """The names and files of the imported modules of the package but those passed, ``python -m`` included.

    Modules of other packages are passed: thousands of names are looked at before and after each stage.
    """
    inside = f"{root_package}."
    # A set: another thread may import while this one looks.
    new = set(modules) - passed
    passed |= {key for key in new if not key.startswith(inside) and key not in ("__main__", root_package)}
    for key in new - passed:
        module = modules.get(key)
        if not isinstance(module, ModuleType):
            continue
        specification = getattr(module, "__spec__", None)
        name = specification.name if key == "__main__" and specification else key
        file = getattr(module, "__file__", None)
        if name not in passed and (name == root_package or name.startswith(inside)) and file and file.endswith(".py"):
            yield name, file


def _checksum(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
