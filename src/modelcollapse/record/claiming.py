"""Run folders, sweep folders and reports belong to one process at a time, and to one chain or sweep for good."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from modelcollapse.errors import UserError
from modelcollapse.record.identity import IDENTITY_FILE
from modelcollapse.store.artifacts import RESERVED_FOLDERS
from modelcollapse.store.claims import (
    MARKER_FILE,
    Claim,
    is_in_use,
    keep_files,
    listed,
    read_claim,
    release,
    take_over,
    try_claim,
)

Kind = Literal["run", "sweep", "replay"]
INNER_FOLDERS = frozenset({".hydra", "devices", "figures", "profiles", "report", "tensorboard", "wandb"})
"""Folders within those of runs and sweeps, which a store cannot be."""
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


@contextmanager
def claimed_by_report(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Claim a folder, in which other files may be, for a report within the ``with`` block.

    Args:
        folder: need not be there.
        names: of what the report writes; where they are there, an earlier report must have written them.

    Yields the files that an earlier report wrote. Raises UserError where the folder is another's.
    """
    claim, was_there = read_claim(folder), folder.exists()
    earlier: tuple[str, ...] = ()
    if claim is not None and claim.what == "report":
        earlier = claim.files
        _succeed(folder, claim)
        keep_files(folder, earlier)
    else:
        _refuse_report(folder, names)
        if not try_claim(folder, "report"):
            raise UserError(f"{folder}: another process has just begun to use it; name another: --to FOLDER")
    try:
        yield earlier
    finally:
        release(folder)
        if is_untouched(folder):
            (folder / MARKER_FILE).unlink(missing_ok=True)
            if not was_there:
                folder.rmdir()


def _refuse_report(folder: Path, names: Sequence[str]) -> None:
    claim = read_claim(folder)
    there = [name for name in names if (folder / name).is_file() or _holds_something(folder / name)]
    if claim is not None or there:
        found = f"{', '.join(there)} there" if there else f"what is there ({claim.what if claim else ''})"
        raise UserError(f"{folder}: is no folder of a report, and {found} would be replaced; name another: --to FOLDER")
    for above in folder.resolve().parents:
        inner = folder.resolve().relative_to(above).parts[0]
        if inner in RESERVED_FOLDERS and (found_claim := read_claim(above)) and found_claim.what == "store":
            raise UserError(f"{folder}: {above / inner} holds files of a store; name another: --to FOLDER")


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


def overlap_problem(folder: Path, what: Kind, store: Path, kinds: Collection[str] = ()) -> str | None:
    """Why a store and the folder of a run or sweep cannot be where they are; None where they can.

    One may lie within the other, but not in the place of what the other writes.

    Args:
        folder: of the run or sweep.
        what: which of them.
        store: as it is set.
        kinds: of the artifacts, which are folders of the store.
    """
    folder, store = folder.resolve(), store.expanduser().resolve()
    if folder == store:
        return f"paths.store: {store} is the {_words(what)} too; name a folder of its own: {store / 'store'}"
    if folder.is_relative_to(store) and (inner := folder.relative_to(store).parts[0]) in {*RESERVED_FOLDERS, *kinds}:
        return f"hydra.{what}.dir: {folder}: {inner} is a folder of the store's own; name another: {store / 'outputs'}"
    if store.is_relative_to(folder):
        inner = store.relative_to(folder).parts[0]
        if inner in INNER_FOLDERS or (what == "sweep" and inner.isdigit()):
            own = f"{inner} is a folder of the {_words(what)}'s own"
            return f"paths.store: {store}: {own}; name another: {folder / 'store'}"
    return None


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
    _succeed(folder, claim)
    return folder


def use_problem(folder: Path, claim: Claim | None) -> str | None:
    """Who is using a folder, for people; None where nobody is."""
    if claim is not None and is_in_use(folder, claim):
        return f"{claim.holder} is using it; wait for its end, or name another folder"
    if claim is not None and claim.is_elsewhere:
        return f"{claim.holder} uses it, or was killed there; if it was, delete {folder / MARKER_FILE}"
    return None


def _succeed(folder: Path, claim: Claim) -> None:
    """Claim a folder that another process claimed before. Raises UserError where that uses it."""
    if problem := use_problem(folder, claim):
        raise UserError(f"{folder}: {problem}")
    what = next((kind for kind in OWN_FILES if kind == claim.what), None)
    if not take_over(folder, claim, what or "report"):
        raise UserError(f"{folder}: another process has just begun to use it; name another folder")


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
