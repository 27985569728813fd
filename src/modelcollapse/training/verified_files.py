"""Files of tensors with a checksum and an owner, both verified when they are read.

Progress of a fit is read hours later by another process: each file holds the checksum of its tensors and the name of
the work that it belongs to.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from modelcollapse.store import BuildContext
from modelcollapse.store.files import delete, sync

OWNER, CHECKSUM = "owner", "sha256"


class ChecksumMismatch(ValueError):
    """A file does not hold what was written; the message follows the file's name."""


def save_with_checksum(tensors: dict[str, torch.Tensor], path: Path, owner: str) -> None:
    """Write tensors to a file that has its name only once it is whole and on the disk."""
    staged = path.with_name(f".{path.name}")
    write_with_checksum(tensors, staged, owner)
    staged.replace(path)


def write_with_checksum(tensors: dict[str, torch.Tensor], path: Path, owner: str) -> None:
    """Write tensors to a file and wait until the disk has it."""
    written = _apart(tensors)
    save_file(written, path, metadata={OWNER: owner, CHECKSUM: _checksum(written)})
    sync(path)


def load_verified(path: Path, owner: str) -> dict[str, torch.Tensor]:
    """The tensors of a file that :func:`save_with_checksum` wrote for the same owner.

    Raises ChecksumMismatch for anything else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ChecksumMismatch(f"cannot be read ({error})") from error
    if metadata.get(OWNER) != owner:
        raise ChecksumMismatch("belongs to other work")
    if metadata.get(CHECKSUM) != _checksum(tensors):
        raise ChecksumMismatch("was altered: it does not match its checksum")
    return tensors


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on the CPU; copied is only what shares its memory with another, which safetensors refuses."""
    apart: dict[str, torch.Tensor] = {}
    memories: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        memory = own.untyped_storage().data_ptr()
        apart[name] = own.clone() if memory in memories else own
        memories.add(memory)
    return apart


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    """Of names, types, shapes and values, a tensor at a time: a large network is not copied for it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


CHECKPOINT_NAME = re.compile(r"epoch-\d{5,}")


@dataclass(frozen=True)
class Progress:
    """The progress folder of a fit: checkpoints and best weights, with the name of their owner."""

    folder: Path
    owner: str
    """Name of the fit; files of another owner are not resumed from."""
    discard: Callable[[Path, str], None]
    """Called with a file that fails verification, and why; deletes it or raises."""

    @classmethod
    def of(cls, context: BuildContext) -> "Progress":
        """The progress of the artifact that is made in a context."""
        return cls(context.progress, context.artifact.key, context.discard)

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
