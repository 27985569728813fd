"""The lock of code digests: which digests of each version were shown to give equal numbers."""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Current = Mapping[str, tuple[int, str]]
"""The version and the digest that each name has now."""


class LockError(ValueError):
    """A lock that cannot be read, or a change that it does not take; the message says what to type."""


@dataclass(frozen=True)
class Locked:
    """What the lock holds for one name."""

    version: int
    digests: tuple[str, ...]
    """Digests of this version that give equal numbers; the first stands for all of them in recipes."""


@dataclass(frozen=True)
class Lock:
    """The locked versions and digests by name; only the last version of each."""

    entries: Mapping[str, Locked]

    @classmethod
    def empty(cls) -> "Lock":
        """A lock that holds nothing, which is what a script has."""
        return cls({})

    @classmethod
    def read(cls, path: Path) -> "Lock":
        """Read a lock file.

        Raises:
            OSError: the file cannot be read.
            LockError: it is not a lock; the message names the file and the entry.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_duplicates)
        except ValueError as error:
            raise LockError(f"{path}: {error}") from error
        if not isinstance(content, dict):
            raise LockError(f"{path}: expected an object of names")
        for name, entry in content.items():
            if not _is_entry(entry):
                raise LockError(f'{path}: {name}: expected {{"version": 1, "digests": ["...", ...]}}, got {entry!r}')
        return cls({name: Locked(entry["version"], tuple(entry["digests"])) for name, entry in content.items()})

    def write(self, path: Path) -> None:
        """Write the lock file, sorted and indented, whole or not at all."""
        content = {
            name: {"version": locked.version, "digests": list(locked.digests)} for name, locked in self.entries.items()
        }
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
        unfinished.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        unfinished.replace(path)

    def identity(self, name: str, version: int, digest: str) -> dict[str, int | str]:
        """The entry for a recipe: the version, and the first locked digest or, where it is not locked, its own."""
        locked = self.entries.get(name)
        is_locked = locked is not None and locked.version == version and digest in locked.digests
        return {"version": version, "digest": locked.digests[0] if locked and is_locked else digest}

    def problems(self, current: Current) -> list[str]:
        """One line for each name whose code is not the locked one; empty where all is locked."""
        found = [f"{name} is locked but no longer exists" for name in self.entries if name not in current]
        for name, (version, digest) in current.items():
            locked = self.entries.get(name)
            if locked is None:
                found.append(f"{name} is not locked")
            elif version < locked.version:
                found.append(f"{name} has version {version}, lower than the locked version {locked.version}")
            elif version > locked.version:
                found.append(f"{name} has version {version}, which is not locked: version {locked.version} is")
            elif digest not in locked.digests:
                found.append(f"{name}: the code of version {version} changed and is not locked (digest {digest})")
        return sorted(found)

    def updated(self, current: Current, equal: Collection[str] = (), removed: Collection[str] = ()) -> "Lock":
        """The lock for the present code.

        New names and raised versions start a list with the present digest.

        Args:
            current: the version and digest of every name that exists.
            equal: names whose changed code was shown to give equal numbers: their digests are appended.
            removed: locked names that no longer exist and are dropped.

        Raises:
            LockError: anything else changed, or ``equal`` or ``removed`` hold other names; the message lists all.
        """
        wrong = [
            *(f"--equal {name}: there is no such name" for name in equal if name not in current),
            *(f"--removed {name}: it still exists" for name in removed if name in current),
            *(f"--removed {name}: it is not locked" for name in removed if name not in {*current, *self.entries}),
            *(
                f"{name} no longer exists: type --removed {name} to drop it"
                for name in self.entries
                if name not in current and name not in removed
            ),
        ]
        entries: dict[str, Locked] = {}
        for name, (version, digest) in current.items():
            try:
                entries[name] = self._updated_entry(name, version, digest, name in equal)
            except LockError as error:
                wrong.append(str(error))
        if wrong:
            raise LockError("\n".join(sorted(wrong)))
        return Lock(entries)

    def _updated_entry(self, name: str, version: int, digest: str, is_equal: bool) -> Locked:
        locked = self.entries.get(name)
        if locked is None or version > locked.version:
            if is_equal:
                raise LockError(f"--equal {name}: version {version} is new, so there is nothing that it could equal")
            return Locked(version, (digest,))
        if version < locked.version:
            raise LockError(
                f"{name} has version {version}, lower than the locked version {locked.version}: "
                f"set its version to {locked.version} or more"
            )
        if digest in locked.digests:
            return locked
        if not is_equal:
            raise LockError(
                f"the code of {name} changed: raise its version to {version + 1}, "
                f"or type --equal {name} where its golden value still stands"
            )
        return Locked(version, (*locked.digests, digest))


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or set(entry) != {"version", "digests"} or type(entry["version"]) is not int:
        return False
    digests = entry["digests"]
    return (
        isinstance(digests, list)
        and bool(digests)
        and all(isinstance(digest, str) and digest for digest in digests)
        and len(set(digests)) == len(digests)
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice, which merging two branches can leave and JSON silently drops."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{sorted({name for name in names if names.count(name) > 1})} stand twice")
    return content
