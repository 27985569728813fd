"""Garbage collection: finds what no run refers to in a store, and removes it.

Removed are finished artifacts and progress that belong to no run, what dead processes left, damaged artifacts moved
aside, and notes of runs that are gone. What a process makes or reads stays: everything is removed under its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from modelcollapse.store import locks
from modelcollapse.store.artifacts import Name
from modelcollapse.store.files import delete
from modelcollapse.store.layout import Layout
from modelcollapse.store.manifest import Damaged, Manifest
from modelcollapse.store.runs import Run, noted_runs


@dataclass(frozen=True)
class Waste:
    """A file or folder of the store that nothing refers to."""

    path: Path
    what: str
    """For people."""
    bytes: int
    key: str | None
    """The artifact whose lock must be held; None for what no process uses."""


def referred(layout: Layout, runs: Iterable[Run]) -> set[str]:
    """Keys of the artifacts that the runs refer to, and of their ancestors as far as manifests name them."""
    places = {path.name: path for path in layout.published()}
    found: set[str] = set()
    waiting = [key for run in runs if run.refers for key in run.artifacts]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += _parents(places[key]) if key in places else []
    return found


def waste(layout: Layout, kept: Collection[str]) -> Iterator[Waste]:
    """All that may be removed while the artifacts with these keys are kept.

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
    for path in sorted(layout.runs.glob(".*.json.*")):
        # Nobody writes a note while things are removed.
        yield Waste(path, f"left by a process that ended: {path.name}", size_of(path), None)
    for path, run in noted_runs(layout):
        if not run.refers:
            yield Waste(path, f"note of a run that is gone: {run.folder}", size_of(path), None)


def is_busy(layout: Layout, key: str) -> bool:
    """Whether a process makes or removes the artifact now."""
    lock = layout.lock_of(key)
    if not lock.exists():
        return False
    with locks.shared_if_free(lock) as free:
        return not free


def remove(layout: Layout, item: Waste) -> bool:
    """Remove one item; returns False where a process builds or reads its artifact, and the item stays.

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
    """Hold the lock of run notes: no run registers itself inside the ``with`` block."""
    return locks.exclusive(layout.runs_lock, "removing what no run refers to", on_wait)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink())


def _hidden(layout: Layout, path: Path) -> Path:
    """Rename a finished artifact, so that it is never seen half deleted."""
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


SHOWN_KEY = 12
MOST_RUNS_SHOWN = 2
UNITS = ("B", "kB", "MB", "GB", "TB")


def listing(manifests: Iterable[Manifest], runs: Sequence[Run]) -> Iterator[str]:
    """A heading for each kind, and a line for each of its artifacts: key, size, when, seconds, what, which runs."""
    users = _users(runs)
    for kind, group in groupby(manifests, key=lambda manifest: manifest.kind):
        artifacts = sorted(group, key=lambda manifest: (manifest.created, manifest.label))
        total = sum(map(artifact_bytes, artifacts))
        yield f"{kind}: {len(artifacts)} {'artifact' if len(artifacts) == 1 else 'artifacts'}, {readable_bytes(total)}"
        for artifact in artifacts:
            yield (
                f"  {artifact.key[:SHOWN_KEY]}  {readable_bytes(artifact_bytes(artifact)):>9}  {artifact.created[:16]}"
                f"  {artifact.seconds:9.1f} s  {artifact.label}{_named(users.get(artifact.key, ()))}"
            )


def _users(runs: Iterable[Run]) -> Mapping[str, Sequence[str]]:
    users: dict[str, list[str]] = {}
    for run in runs:
        for key in run.artifacts:
            users.setdefault(key, []).append(_short(run.folder))
    return users


def _short(folder: str) -> str:
    """The path relative to the working directory, if it lies below."""
    path = Path(folder)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else folder


def _named(folders: Sequence[str]) -> str:
    if not folders:
        return "  [no run]"
    more = f" and {len(folders) - MOST_RUNS_SHOWN} more" if len(folders) > MOST_RUNS_SHOWN else ""
    return f"  [{', '.join(folders[:MOST_RUNS_SHOWN])}{more}]"


def tree(manifests: Sequence[Manifest], key_prefix: str | None = None) -> Iterator[str]:
    """Each artifact that nothing else was made from, or the one asked for, and under it what it was made from.

    What an artifact was made from is shown where the artifact comes first; two blanks a step back.
    """
    known = {manifest.key: manifest for manifest in manifests}
    used = {key for manifest in manifests for key in manifest.parents.values()}
    wanted = [key for key in known if (key not in used if key_prefix is None else key.startswith(key_prefix))]
    # A stack of its own: chains are longer than Python's recursion goes deep.
    waiting = [("", key, 0) for key in reversed(wanted)]
    shown: set[str] = set()
    while waiting:
        role, key, depth = waiting.pop()
        artifact = known.get(key)
        yield "  " * depth + (f"{role}: " if role else "") + _line(key, artifact, key in shown)
        if artifact is not None and key not in shown:
            shown.add(key)
            waiting += [(role, parent, depth + 1) for role, parent in sorted(artifact.parents.items(), reverse=True)]


def _line(key: str, artifact: Manifest | None, is_shown: bool) -> str:
    if artifact is None:
        return f"{key[:SHOWN_KEY]} (no longer in the store)"
    return f"{artifact.kind} {key[:SHOWN_KEY]} ({artifact.label})" + (
        ", see above" if is_shown and artifact.parents else ""
    )


def artifact_bytes(artifact: Manifest) -> int:
    """Bytes of the artifact's files."""
    return sum(record.bytes for record in artifact.files.values())


def readable_bytes(count: float) -> str:
    """The number with a unit, powers of a thousand."""
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 or count >= 99.95 else f"{count:.1f} {UNITS[unit]}"
