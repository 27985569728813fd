"""Where everything lies in a store.

Under the root::

    <kind>/<key>/                a finished piece, with its manifest.json
    <kind>/.<key>.<host>-<pid>/  a piece being made, or being removed
    progress/<key>/              what a killed maker left to go on from
    locks/<key>.lock             who makes or reads it
    damaged/<kind>/<key>.<n>/    moved aside because it was not what had been published
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelcollapse.store.manifest import MANIFEST_NAME
from modelcollapse.store.pieces import KEY_PATTERN, RESERVED_FOLDERS, Piece


@dataclass(frozen=True)
class Layout:
    """The paths of one store."""

    root: Path

    def folder(self, piece: Piece) -> Path:
        """Where the finished piece is, or will be."""
        return self.root / piece.kind / piece.key

    def temporary(self, piece: Piece) -> Path:
        """Where this process makes the piece."""
        return self.root / piece.kind / f".{piece.key}.{os.uname().nodename}-{os.getpid()}"

    def temporaries(self, piece: Piece) -> Iterator[Path]:
        """Where any process has made the piece and left something."""
        return (self.root / piece.kind).glob(f".{piece.key}.*")

    def progress(self, piece: Piece) -> Path:
        """What outlives a killed maker of the piece."""
        return self.root / "progress" / piece.key

    def lock(self, piece: Piece) -> Path:
        """The piece's lock file."""
        return self.root / "locks" / f"{piece.key}.lock"

    def aside(self, piece: Piece) -> Path:
        """A free place to move the damaged piece to."""
        folder = self.root / "damaged" / piece.kind
        numbered = (folder / f"{piece.key}.{number}" for number in itertools.count(1))
        return next(path for path in numbered if not os.path.lexists(path))

    def published(self) -> Iterator[Path]:
        """The folders of all finished pieces, sorted by kind and key."""
        for manifest_path in sorted(self.root.glob(f"*/*/{MANIFEST_NAME}")):
            folder = manifest_path.parent
            if folder.parent.name not in RESERVED_FOLDERS and KEY_PATTERN.fullmatch(folder.name):
                yield folder
