"""Checkpoints as safetensors and JSON: nothing in them can execute when they are loaded."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from modelcollapse.execution.sealing import Unsealed, load_sealed, write_sealed
from modelcollapse.store.files import sync

STRUCTURE, TENSORS = "structure.json", "tensors.safetensors"


class SafeCheckpointIO(CheckpointIO):
    """Writes a Lightning checkpoint as a folder of one safetensors and one JSON file.

    The folder is staged beside its place and renamed, so a checkpoint is whole or absent. The tensors are sealed, and
    belong to the text of their JSON file: neither can be altered or exchanged unnoticed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint to the folder ``path``. Raises TypeError for content that is not plain data."""
        target = Path(path)
        staged = target.with_name(f".{target.name}.staged")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        tensors: dict[str, torch.Tensor] = {}
        structure = json.dumps(_plain(checkpoint, tensors))
        (staged / STRUCTURE).write_text(structure)
        sync(staged / STRUCTURE)
        write_sealed(tensors, staged / TENSORS, _digest(structure))
        shutil.rmtree(target, ignore_errors=True)
        staged.rename(target)
        sync(target.parent)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint in the folder ``path``, its tensors on the CPU. Raises Unsealed if it was altered."""
        folder = Path(path)
        try:
            structure = (folder / STRUCTURE).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Unsealed(f"holds no {STRUCTURE} that can be read ({error})") from error
        tensors = load_sealed(folder / TENSORS, _digest(structure))
        restored: dict[str, Any] = _restored(json.loads(structure), tensors)
        return restored

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete the checkpoint folder."""
        shutil.rmtree(path, ignore_errors=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The value as JSON, its tensors moved out; dictionaries become item lists, since their keys may be numbers."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[key, _plain(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_plain(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds plain data only, not {type(value).__name__}")


def _restored(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: _restored(item, tensors) for key, item in content}
    items = [_restored(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
