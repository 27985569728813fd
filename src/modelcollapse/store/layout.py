"""The paths of a store.

Under the root::

    <kind>/<key>/                a finished artifact, with its manifest.json
    <kind>/.<key>.<host>-<pid>/  an artifact that is being built or removed
    progress/<key>/              what a killed build left to resume from
    locks/<key>.lock             who builds or reads it
    damaged/<kind>/<key>.<n>/    a damaged artifact that was moved aside
    runs/<chain>-<hash>.json     a run folder, and the keys of all artifacts of its chain
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelcollapse.store.artifacts import KEY_PATTERN, RESERVED_FOLDERS, Name, Named
from modelcollapse.store.manifest import MANIFEST_NAME


@dataclass(frozen=True)
class Layout:
    """The paths of one store."""

    root: Path

    def folder(self, artifact: Named) -> Path:
        """Where the finished artifact is, or will be."""
        return self.root / artifact.kind / artifact.key

    def temporary(self, artifact: Named) -> Path:
        """Temporary folder in which this process builds the artifact."""
        return self.root / artifact.kind / f".{artifact.key}.{os.uname().nodename}-{os.getpid()}"

    def temporaries(self, artifact: Named) -> Iterator[Path]:
        """Temporary folders of the artifact that any process has left."""
        return (self.root / artifact.kind).glob(f".{artifact.key}.*")

    def progress(self, artifact: Named) -> Path:
        """Progress folder of the artifact, which outlives a kill."""
        return self.root / "progress" / artifact.key

    def lock(self, artifact: Named) -> Path:
        """The artifact's lock file."""
        return self.lock_of(artifact.key)

    def lock_of(self, key: str) -> Path:
        """The lock file of the artifact of that key, whatever its kind."""
        return self.root / "locks" / f"{key}.lock"

    def aside(self, artifact: Named) -> Path:
        """A free place to move the damaged artifact to."""
        folder = self.root / "damaged" / artifact.kind
        numbered = (folder / f"{artifact.key}.{number}" for number in itertools.count(1))
        return next(path for path in numbered if not os.path.lexists(path))

    @property
    def runs(self) -> Path:
        """Where runs note what they refer to."""
        return self.root / "runs"

    @property
    def runs_lock(self) -> Path:
        """Held shared while a run is noted, and alone while what no run refers to is removed."""
        return self.root / "locks" / "runs.lock"

    def published(self) -> Iterator[Path]:
        """The folders of all finished artifacts, sorted by kind and key."""
        return (path for path in self.places() if os.path.lexists(path / MANIFEST_NAME))

    def places(self) -> Iterator[Path]:
        """Whatever lies where a finished artifact lies, damaged or not, sorted by kind and key."""
        for path in sorted(self.root.glob("*/*")):
            if path.parent.name not in RESERVED_FOLDERS and KEY_PATTERN.fullmatch(path.name):
                yield path

    def leftovers(self) -> Iterator[tuple[Name, Path]]:
        """Temporary folders of interrupted builds and removals, sorted."""
        for path in sorted(self.root.glob("*/.*")):
            key = path.name.split(".")[1]
            if path.parent.name not in RESERVED_FOLDERS and KEY_PATTERN.fullmatch(key):
                yield Name(path.parent.name, key), path

    def unfinished(self) -> Iterator[Path]:
        """The progress folders, each named by its key, sorted."""
        return (path for path in sorted(self.root.glob("progress/*")) if KEY_PATTERN.fullmatch(path.name))

    def set_aside(self) -> Iterator[Path]:
        """The damaged artifacts that were moved aside, sorted."""
        return iter(sorted(self.root.glob("damaged/*/*")))
