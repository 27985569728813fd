"""What in a store nothing refers to, and its removal.

Removed are finished pieces and progress that belong to no run, what dead processes left, damaged pieces that were moved
aside, and notes of runs that are gone. What a process makes or reads stays: everything is removed under its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from modelcollapse.store import locks
from modelcollapse.store.files import delete
from modelcollapse.store.layout import Layout
from modelcollapse.store.manifest import Damaged, Manifest
from modelcollapse.store.pieces import Name
from modelcollapse.store.runs import Run, noted_runs


@dataclass(frozen=True)
class Waste:
    """Something that can go."""

    path: Path
    what: str
    """For people."""
    bytes: int
    key: str | None
    """The piece whose lock must be held; None for what no process uses."""


def referred(layout: Layout, runs: Iterable[Run]) -> set[str]:
    """The keys that the runs refer to, and those that these pieces are made from as far as the store knows."""
    places = {path.name: path for path in layout.published()}
    found: set[str] = set()
    waiting = [key for run in runs if run.refers for key in run.pieces]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += _parents(places[key]) if key in places else []
    return found


def waste(layout: Layout, kept: Collection[str]) -> Iterator[Waste]:
    """What can go while the pieces with these keys are kept.

    Raises:
        Damaged: the note of a run cannot be read.
    """
    for path in layout.places():
        if path.name not in kept:
            yield Waste(path, f"{path.parent.name} {path.name[:12]} ({_label(path)})", size_of(path), path.name)
    finished = {path.name for path in layout.published()}
    for path in layout.unfinished():
        if path.name not in kept or path.name in finished:
            yield Waste(path, f"progress of {path.name[:12]}", size_of(path), path.name)
    for name, path in layout.leftovers():
        if not is_busy(layout, name.key):
            yield Waste(path, f"left by a process that ended: {path.name}", size_of(path), name.key)
    for path in layout.set_aside():
        yield Waste(path, f"damaged, moved aside: {path.parent.name} {path.name}", size_of(path), None)
    for path in sorted(layout.runs.glob(".*")):
        # Nobody writes a note while things are removed.
        yield Waste(path, f"left by a process that ended: {path.name}", size_of(path), None)
    for path, run in noted_runs(layout):
        if not run.refers:
            yield Waste(path, f"note of a run that is gone: {run.folder}", size_of(path), None)


def is_busy(layout: Layout, key: str) -> bool:
    """Whether a process makes or removes the piece now."""
    lock = layout.lock_of(key)
    if not lock.exists():
        return False
    with locks.shared_if_free(lock) as free:
        return not free


def remove(layout: Layout, item: Waste) -> bool:
    """Take one thing away; gives whether it is gone. It stays while a process makes or reads its piece.

    Raises:
        OSError: the store cannot be written.
    """
    if item.key is None:
        delete(item.path)
        return True
    with locks.exclusive_if_free(layout.lock_of(item.key), f"removing {item.what}") as free:
        if free:
            delete(_hidden(layout, item.path))
        return free


def collecting(layout: Layout, on_wait: Callable[[str], None]) -> AbstractContextManager[None]:
    """Keep runs from being noted meanwhile: what is looked up inside the ``with`` block holds to its end."""
    return locks.exclusive(layout.runs_lock, "removing what no run refers to", on_wait)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink())


def _hidden(layout: Layout, path: Path) -> Path:
    """Rename a finished piece, so that it is never seen half deleted."""
    if path.parent == layout.root / "progress" or path.name.startswith("."):
        return path
    hidden = layout.temporary(Name(path.parent.name, path.name))
    delete(hidden)
    return path.rename(hidden)


def _parents(place: Path) -> list[str]:
    try:
        return list(Manifest.read(place).parents.values())
    except Damaged:
        return []


def _label(place: Path) -> str:
    try:
        return Manifest.read(place).label
    except Damaged:
        return "damaged"
