"""Tensors that are used again only while they are what was written, by whom it was written.

Progress lies on the disk for hours and is read by a later process: each file carries a checksum of what it holds and
the name of the work that it belongs to.
"""

import hashlib
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file

OWNER, CHECKSUM = "owner", "sha256"


class Unsealed(ValueError):
    """A file that is not what was written there; the message says in what way, to follow the file's name."""


def save_sealed(tensors: dict[str, torch.Tensor], path: Path, owner: str) -> None:
    """Write tensors to a file that has its name only once it is whole and on the disk."""
    staged = path.with_name(f".{path.name}")
    write_sealed(tensors, staged, owner)
    staged.replace(path)


def write_sealed(tensors: dict[str, torch.Tensor], path: Path, owner: str) -> None:
    """Write tensors to a file and wait until the disk has it."""
    save_file(tensors, path, metadata={OWNER: owner, CHECKSUM: _checksum(tensors)})
    sync(path)


def load_sealed(path: Path, owner: str) -> dict[str, torch.Tensor]:
    """The tensors of a file that :func:`save_sealed` wrote for the same owner. Raises Unsealed for anything else."""
    try:
        with safe_open(path, framework="pt") as file:
            seal = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise Unsealed(f"cannot be read ({error})") from error
    if seal.get(OWNER) != owner:
        raise Unsealed("belongs to other work")
    if seal.get(CHECKSUM) != _checksum(tensors):
        raise Unsealed("was altered: it does not match its checksum")
    return tensors


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    return hashlib.sha256(save(tensors)).hexdigest()


def sync(path: Path) -> None:
    """Wait until the disk has a file's content, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
