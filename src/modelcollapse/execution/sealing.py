"""Tensors that are used again only while they are what was written, by whom it was written.

Progress lies on the disk for hours and is read by a later process: each file carries a checksum of what it holds and
the name of the work that it belongs to.
"""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from modelcollapse.store.files import sync

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
    written = _apart(tensors)
    save_file(written, path, metadata={OWNER: owner, CHECKSUM: _checksum(written)})
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
