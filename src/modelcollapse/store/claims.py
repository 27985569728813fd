"""Claims: a marker file says what a folder is (a run folder, a store, a report) and which process works in it.

A folder is claimed by making its marker, which only one process can do (``O_EXCL``). The marker stays: without one,
nothing in a folder is overwritten or deleted. A process is named by host, id and the moment when it began, so that a
later one with its id is not taken for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from modelcollapse.store.artifacts import KEY_PATTERN
from modelcollapse.store.files import is_alive, make_folder, temporary_beside, write_whole

MARKER_FILE = ".modelcollapse.json"
RUNS_LOCK = "locks/runs.lock"
MOST_LISTED = 3
Kind = Literal["run", "sweep", "store", "report", "replay"]
_HELD: set[Path] = set()
"""Folders that this process works in: on a full disk, a marker goes on to name it after the work has ended."""


@dataclass(frozen=True)
class Claim:
    """The content of a marker."""

    what: str
    """Kind of the folder."""
    host: str
    process: int | None
    """Process that works in the folder; None where none does."""
    began: str | None
    """When that process began, as the kernel counts; None where the system does not say."""
    claimed: str
    """UTC, ISO 8601."""
    files: tuple[str, ...] = ()
    """What was written, where not all of the folder is claimed."""

    @classmethod
    def own(cls, what: Kind) -> Claim:
        """A claim of this process."""
        process = os.getpid()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(what, os.uname().nodename, process, process_began(process), now)

    @property
    def is_elsewhere(self) -> bool:
        """Whether a process of another machine works in the folder, or was killed there."""
        return self.process is not None and self.host != os.uname().nodename

    @property
    def is_live(self) -> bool:
        """Whether a process of this machine works in the folder."""
        return self.process is not None and not self.is_elsewhere and is_running(self.process, self.began)

    @property
    def holder(self) -> str:
        """The process, for people."""
        return f"process {self.process} on {self.host}"


def is_running(process: int, began: str | None) -> bool:
    """Whether a process of this machine has not ended, and none of its number that began later took its place.

    Args:
        process: Its number.
        began: What :func:`process_began` said of it; None where that was not written down.
    """
    now = process_began(process) if is_alive(process) else None
    return now is not None and began in (None, now)


def process_began(process: int) -> str | None:
    """When a process began, unique among all of this machine; "" where the system does not say, None if it ended."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The name of the program, in parentheses, may hold anything.
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else ""
    except OSError:
        return ""
    state, began = fields[0], fields[19]
    return None if state in ("Z", "X") else f"{boot} {began}"


def read_claim(folder: Path) -> Claim | None:
    """The claim on a folder; None where it has no marker, or one that is damaged."""
    try:
        content: dict[str, Any] = json.loads((folder / MARKER_FILE).read_text(encoding="utf-8"))
        return Claim(**{**content, "files": tuple(content.get("files", ()))})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def is_in_use(folder: Path, claim: Claim | None) -> bool:
    """Whether a process of this machine works in the folder of a claim."""
    if claim is None or not claim.is_live:
        return False
    return claim.process != os.getpid() or folder.resolve() in _HELD


def try_claim(folder: Path, what: Kind) -> bool:
    """Make the marker of a folder that has none, the folder too; returns False where another process was first.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(folder / MARKER_FILE)
    temporary.write_text(_text(Claim.own(what)), encoding="utf-8")
    try:
        # A link is made whole or not at all, and never over another file.
        os.link(temporary, folder / MARKER_FILE)
    except FileExistsError:
        return False
    except OSError:
        return _try_without_links(folder, what)
    finally:
        temporary.unlink(missing_ok=True)
    _HELD.add(folder.resolve())
    return True


def take_over(folder: Path, found: Claim, what: Kind) -> bool:
    """Put this process in the place of one that ended; returns False where another process was first."""
    aside = temporary_beside(folder / f"{MARKER_FILE}.old")
    try:
        (folder / MARKER_FILE).rename(aside)
    except FileNotFoundError:
        return False
    taken = Claim(**{**json.loads(aside.read_text(encoding="utf-8")), "files": found.files})
    if taken != found:
        # Another process took it over in between: it gets its marker back.
        with suppress(FileExistsError):
            os.link(aside, folder / MARKER_FILE)
        aside.unlink()
        return False
    aside.unlink()
    return try_claim(folder, what)


def release(folder: Path) -> None:
    """Say in the marker of this process that no process works in the folder any more; the folder stays claimed."""
    _HELD.discard(folder.resolve())
    claim = read_claim(folder)
    if claim is None or claim.process != os.getpid():
        return
    path = folder / MARKER_FILE
    temporary = temporary_beside(path)
    with suppress(OSError):
        temporary.write_text(_text(replace(claim, process=None, began=None)), "utf-8")
        temporary.replace(path)


def keep_files(folder: Path, files: Iterable[str]) -> None:
    """Note in the marker of this process which files an earlier one wrote."""
    if (claim := read_claim(folder)) is not None:
        write_whole(folder / MARKER_FILE, _text(replace(claim, files=tuple(files))).encode())


def mark_files(folder: Path, what: Kind, files: Iterable[str]) -> None:
    """Mark a folder in which only these files are ours."""
    claim = replace(Claim.own(what), process=None, began=None, files=tuple(sorted(files)))
    write_whole(folder / MARKER_FILE, _text(claim).encode())


def is_store(root: Path) -> bool:
    """Whether a folder is a store: its marker says so, or the lock file that every run makes is there."""
    claim = read_claim(root)
    if claim is not None:
        return claim.what == "store"
    places = (path for path in root.glob("*/*/manifest.json") if KEY_PATTERN.fullmatch(path.parent.name))
    return (root / RUNS_LOCK).is_file() or any(places)


def store_problem(root: Path) -> str | None:
    """Why a folder cannot become a store: files are in it besides hidden ones, and those in claimed folders."""
    if not root.is_dir() or is_store(root):
        return None
    others = sorted(path.name for path in root.iterdir() if _holds_others(path))
    if not others:
        return None
    return f"{root}: holds {listed(others)}, and is no store; name a folder of its own, which is made: {root}/store"


def _holds_others(path: Path) -> bool:
    """Whether a path is a file that is not hidden, or a folder that nobody claimed with one in it, however deep."""
    if path.name.startswith(".") or not path.is_dir():
        return not path.name.startswith(".")
    return read_claim(path) is None and any(map(_holds_others, path.iterdir()))


def claim_store(root: Path) -> None:
    """Mark a folder as a store, where it is not.

    Raises:
        OSError: the store cannot be written.
    """
    if read_claim(root) is None:
        make_folder(root)
        try_claim(root, "store")
        release(root)


def listed(names: Sequence[str]) -> str:
    """The first names, for people."""
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def _try_without_links(folder: Path, what: Kind) -> bool:
    try:
        with (folder / MARKER_FILE).open("x", encoding="utf-8") as file:
            file.write(_text(Claim.own(what)))
    except FileExistsError:
        return False
    _HELD.add(folder.resolve())
    return True


def _text(claim: Claim) -> str:
    content: Mapping[str, Any] = asdict(claim)
    return json.dumps({name: value for name, value in content.items() if name != "files" or value}, indent=1) + "\n"
