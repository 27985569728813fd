"""What an edit gives back, looked at, and what is recorded of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from modelcollapse.errors import UserError
from modelcollapse.registry import Choice

SUMMARY_FILE = "editing.json"


class Edited(NamedTuple):
    """Edited rows, and which of their parts an edit has looked for anew, be they the same as before or not."""

    rows: torch.Tensor
    is_edited: torch.Tensor


def edited(edit: Choice, rows: torch.Tensor, **given: Any) -> Edited:
    """The edit of rows [..., parts]; where it returns rows alone, those parts were edited that are others now.

    Raises UserError where they are not of the shape and kind of number of those that it was given.
    """
    returned = _built(edit)(rows, **given)
    found = returned if isinstance(returned, Edited) else Edited(returned, torch.as_tensor(returned) != rows)
    if found.rows.shape != rows.shape or found.rows.dtype != rows.dtype:
        raise UserError(
            f"editing.name: {edit.name!r} must return rows as it is given, {list(rows.shape)} of {rows.dtype}; it"
            f" returned {list(found.rows.shape)} of {found.rows.dtype}"
        )
    return found


def _built(edit: Choice) -> Callable[..., Any]:
    built: Callable[..., Any] = edit.build()
    return built


def write_summary(folder: Path, before: torch.Tensor, found: Edited, real: torch.Tensor) -> None:
    """Write which share of all tokens was edited, is another than before, and is another than the real one."""
    summary = {
        "edited_share": float(found.is_edited.double().mean()),
        "changed_share": float((found.rows != before).double().mean()),
        "changed_since_real": float((found.rows != real).double().mean()),
    }
    (folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=1, sort_keys=True), encoding="utf-8")


def editing_metrics(synthetic: Path) -> dict[str, float]:
    """Metrics ``editing/...`` of a set; none where it was not edited."""
    path = synthetic / SUMMARY_FILE
    if not path.is_file():
        return {}
    return {f"editing/{name}": value for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
