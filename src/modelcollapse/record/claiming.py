"""Run folders and sweep folders belong to one process at a time, and to one chain or sweep for good."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from modelcollapse.errors import UserError
from modelcollapse.record.identity import IDENTITY_FILE
from modelcollapse.store.claims import (
    MARKER_FILE,
    Claim,
    is_in_use,
    listed,
    read_claim,
    release,
    take_over,
    try_claim,
)

Kind = Literal["run", "sweep", "replay"]
OWN_FILES: Mapping[Kind, str] = {"run": IDENTITY_FILE, "sweep": "grid.json", "replay": "replay.json"}
"""What shows that a folder without a marker is one nevertheless: it was copied, or is of an earlier version."""
NAMED_BY: Mapping[Kind, str] = {"run": "hydra.run.dir=", "sweep": "hydra.sweep.dir=", "replay": "--output "}
"""What is typed before the name of a folder."""
FROM_OUTSIDE = ("output.log", "process.json")
"""Files that are there before a run begins, besides other logs: of the sweep that starts it."""


class OtherChain(UserError):
    """A folder holds the record of another chain, which stays as it is."""


@contextmanager
def claimed(folder: Path, what: Kind, *, by_time: bool) -> Iterator[Path]:
    """Claim a folder for the ``with`` block, and give it.

    Args:
        folder: need not be there.
        what: kind of the folder.
        by_time: whether its name comes from the time of day. Where it is taken, ``-1``, ``-2`` and so on are tried;
            any other folder must be free: empty, or left by a run or sweep that has ended.

    Raises:
        UserError: the folder is another's; nothing in it was touched.
        OSError: it cannot be written.
    """
    place = _next_to(folder, what) if by_time else _named(folder, what)
    try:
        yield place
    finally:
        release(place)
        if is_untouched(place):
            (place / MARKER_FILE).unlink(missing_ok=True)
            if place != folder:
                place.rmdir()


def is_named_by_time(written: str) -> bool:
    """Whether the setting of a folder, as it is written, takes its name from the time of day."""
    return "${now:" in written


def made_anew(folder: Path) -> Path:
    """Make a folder, or one beside it where it is there already, and return it."""
    number, place = 0, folder
    while True:
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            number += 1
            place = folder.with_name(f"{folder.name}-{number}")
        else:
            return place


def is_untouched(folder: Path) -> bool:
    """Whether nothing is in a folder but its marker."""
    return folder.is_dir() and all(path.name == MARKER_FILE for path in folder.iterdir())


def refuse_other_chain(folder: Path, chain: str) -> None:
    """Raise OtherChain where the record in a folder is of another chain."""
    try:
        found = json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8")).get("id")
    except (OSError, ValueError, AttributeError):
        return
    if found != chain:
        raise OtherChain(
            f"{folder}: holds the record of another chain ({found}; this one is {chain}: settings or code differ),"
            " which is not overwritten; name another folder, or delete this one"
        )


def forget_other_chain(folder: Path, chain: str) -> None:
    """Remove the identity of another chain from a folder of a sweep, whose command may have changed."""
    try:
        refuse_other_chain(folder, chain)
    except OtherChain:
        (folder / IDENTITY_FILE).unlink(missing_ok=True)


def free_of_elsewhere(folder: Path) -> None:
    """Remove the marker of a process on another machine, which the sweep that the folder is of has given up."""
    claim = read_claim(folder)
    if claim is not None and claim.is_elsewhere:
        (folder / MARKER_FILE).unlink(missing_ok=True)


def status_of(folder: Path, identity: Mapping[str, Any]) -> str:
    """How the run of a folder ended: ``finished``, ``failed``, ``interrupted``, ``killed``; or ``running``.

    A run that was killed could not say so: it runs only while the process that claimed its folder lives.
    """
    status = str(identity.get("status", "unknown"))
    if status != "running":
        return status
    claim = read_claim(folder)
    if claim is not None and claim.is_elsewhere:
        return f"running on {claim.host}, or killed there"
    return "running" if is_in_use(folder, claim) else "killed"


def _next_to(folder: Path, what: Kind) -> Path:
    number, place = 0, folder
    while _others(place) or not try_claim(place, what):
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")
    return place


def _named(folder: Path, what: Kind) -> Path:
    claim = read_claim(folder)
    if claim is None:
        _refuse_foreign(folder, what)
        if not try_claim(folder, what):
            raise UserError(f"{folder}: another process has just begun to use it; name another folder")
        return folder
    if claim.what != what:
        raise UserError(f"{folder}: is a {_words(claim.what)}, and cannot be a {_words(what)} too; name another folder")
    if is_in_use(folder, claim):
        raise UserError(f"{folder}: {claim.holder} is using it; wait for its end, or name another folder")
    if claim.is_elsewhere:
        raise UserError(
            f"{folder}: {claim.holder} uses it, or was killed there; if it was, delete {folder / MARKER_FILE}"
        )
    if not take_over(folder, claim, _kind(claim)):
        raise UserError(f"{folder}: another process has just begun to use it; name another folder")
    return folder


def _kind(claim: Claim) -> Kind:
    return next((kind for kind in OWN_FILES if kind == claim.what), "sweep")


def _words(what: str) -> str:
    return {"run": "run folder", "store": "store"}.get(what, f"folder of a {what}")


def _refuse_foreign(folder: Path, what: Kind) -> None:
    if (folder / MARKER_FILE).exists():
        raise UserError(f"{folder / MARKER_FILE}: is damaged, so that nobody knows whose the folder is; delete it")
    if (folder / OWN_FILES[what]).is_file() and _is_ours(folder / OWN_FILES[what]):
        return
    if others := _others(folder):
        raise UserError(
            f"{folder}: holds other files ({listed(others)}), and is no {_words(what)}; name a folder of its own:"
            f" {NAMED_BY[what]}{folder / 'run'}"
        )


def _is_ours(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and bool(content.keys() & {"id", "chains"})


def _others(folder: Path) -> list[str]:
    """What is in a folder besides hidden files, logs, and what a sweep writes before it starts a run."""
    if not folder.is_dir():
        return [folder.name] if folder.exists() else []
    names = sorted(path.name for path in folder.iterdir())
    return [
        name for name in names if not name.startswith(".") and not name.endswith(".log") and name not in FROM_OUTSIDE
    ]
