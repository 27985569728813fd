"""What a fit leaves to go on from, and where it lies."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelcollapse.store import Workshop
from modelcollapse.store.files import delete

CHECKPOINT_NAME = re.compile(r"epoch-\d{5,}")


@dataclass(frozen=True)
class Progress:
    """Where a fit leaves what it goes on from, and whose fit it is."""

    folder: Path
    owner: str
    """Name of the fit; what another has left is not gone on from."""
    discard: Callable[[Path, str], None]
    """Told of a file that is not what was left there, and in what way: takes it away, or raises."""

    @classmethod
    def of(cls, workshop: Workshop) -> "Progress":
        """The progress of the piece that is made in a workshop."""
        return cls(workshop.progress, workshop.piece.key, workshop.discard)

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint of the last finished epoch, if any."""
        return newest_checkpoint(self.folder)

    def best(self, epoch: int) -> Path:
        """The weights of that epoch, while they are the best."""
        return self.folder / f"best-{epoch:05d}.safetensors"

    def best_owner(self, epoch: int) -> str:
        """Whose weights those are."""
        return f"{self.owner} best {epoch}"

    def clear(self) -> None:
        """Start anew."""
        for path in self.folder.iterdir():
            delete(path)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the last finished epoch among what lies in the folder, if any."""
    return max((path for path in folder.glob("epoch-*") if CHECKPOINT_NAME.fullmatch(path.name)), default=None)


def finished_epochs(checkpoint: Path) -> int:
    """Epochs that the checkpoint's name says are finished."""
    return int(checkpoint.name.removeprefix("epoch-"))
