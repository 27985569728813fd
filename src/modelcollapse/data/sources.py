"""Files and folders that are taken in from outside: which files count, their fingerprints, and what is read of them.

A recipe names a file or folder by its fingerprint. What is then read is what was fingerprinted: a folder is read
through a view that holds the fingerprinted files and no others, and after a stage has read its sources they are
fingerprinted again (:func:`verify_unchanged`).
"""

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from modelcollapse.errors import UserError

MOST_FILES = 10_000
"""Files of a folder of weights or of a data set, at most: more are another folder than was meant."""
NOTICEABLE = 2**28
"""Bytes of a file from which on its fingerprint takes so long that a bar is shown."""
CHUNK = 2**20


class BadSource(UserError):
    """A file or folder that cannot be taken in; the message names it and says why."""


def reason_of(error: BaseException) -> str:
    """The first line of what an error of a library says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# ---- files ----------------------------------------------------------------------------------------------------------


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading bytes; never waits, as a named pipe would have it.

    Raises BadSource if there is no file at the path, or something else than a file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise BadSource(f"{path}: there is no such file") from error
    except OSError as error:
        raise BadSource(f"{path}: cannot be read ({error.strerror})") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise BadSource(f"{path}: {_irregular(mode)}")
    return os.fdopen(descriptor, "rb")


def _irregular(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "Is a directory; it must be a file"
    kinds = {stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket"}
    found = next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")
    return f"is {found}; it must be a file"


def files_of(folder: Path) -> dict[str, Path]:
    """Name within the folder, with forward slashes -> the file that it stands for, sorted by the names' parts.

    Hidden files and folders do not count. A link may lead to a file of the same folder, or in the hub's cache to the
    file that it keeps for it. Raises BadSource for other links, for what is neither file nor folder, and for more than
    MOST_FILES files.
    """
    root, found = folder.resolve(), {}
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*folders, *names):
            path = Path(place, name)
            if not name.startswith(".") and (path.is_symlink() or name in names):
                found[path.relative_to(root).as_posix()] = _target(path, root)
        if len(found) > MOST_FILES:
            raise BadSource(
                f"{folder}: holds more than {MOST_FILES} files; it must be the folder of one model or data set"
            )
    return {name: found[name] for name in sorted(found, key=lambda name: name.split("/"))}


def _target(path: Path, root: Path) -> Path:
    """The file that a path inside ``root`` stands for."""
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise BadSource(f"{path}: is a link that leads to itself") from error
    if not any(target.is_relative_to(place) for place in (root, *_hub_blobs(root))):
        raise BadSource(
            f"{path}: is a link that leads out of its folder, to {target}; put a copy of the file in its place"
        )
    try:
        mode = target.stat().st_mode
    except OSError as error:
        raise BadSource(f"{path}: is a link to {target}, and there is no such file") from error
    if not stat.S_ISREG(mode):
        link = "is a link to a folder; put a copy of the folder in its place"
        raise BadSource(f"{path}: {link if stat.S_ISDIR(mode) else _irregular(mode)}")
    return target


def _hub_blobs(root: Path) -> list[Path]:
    """Where the hub's cache keeps the files of ``root``, if this is a snapshot in it."""
    return [root.parent.parent / "blobs"] if root.parent.name == "snapshots" else []


# ---- fingerprints ---------------------------------------------------------------------------------------------------


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a file's bytes, or of the names and bytes of all files of a folder that count.

    Raises BadSource if there is nothing of the kind at the path.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return fingerprint_of(files_of(path))
    return file_digest(path)


def fingerprint_of(files: Mapping[str, Path]) -> str:
    """SHA-256 of the names and bytes of files."""
    listing = "\n".join(f"{name} {file_digest(file)}" for name, file in files.items())
    return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()


_DIGESTS: dict[tuple[Any, ...], str] = {}


def file_digest(path: Path, content: Callable[[Path], Iterator[bytes]] | None = None) -> str:
    """SHA-256 of a file's bytes, or of what ``content`` makes of them; computed once a process while a file stays."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
    times = (status.st_mtime_ns, status.st_ctime_ns)
    known = (content, path.absolute(), status.st_dev, status.st_ino, status.st_size, *times)
    if known not in _DIGESTS:
        with _bar(path, status.st_size) as advance:
            _DIGESTS[known] = _digest_of((content or file_bytes)(path), advance)
    return _DIGESTS[known]


def file_bytes(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a part at a time."""
    with open_regular(path) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _digest_of(chunks: Iterator[bytes], advance: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        advance(len(chunk))
    return digest.hexdigest()


@contextmanager
def _bar(path: Path, size: int) -> Iterator[Callable[[int], None]]:
    """Takes numbers of bytes that were read; a bar on a terminal while a large file is read."""
    if size < NOTICEABLE or not sys.stdout.isatty():
        yield lambda count: None
        return
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(transient=True) as progress:
        task = progress.add_task(f"reading {escape(path.name)}", total=size)
        yield lambda count: progress.advance(task, count)


def verify_unchanged(recipe: Mapping[str, Any], present: Callable[[], Mapping[str, Any]]) -> None:
    """Check that sources which were just read are still what the recipe says; every file is read again.

    Args:
        recipe: of the artifact that is being built.
        present: the part of it that names sources, as it would be declared now.

    Raises:
        BadSource: a source was changed between its fingerprint and this moment.
    """
    _DIGESTS.clear()
    if changed := [name for name, value in present().items() if recipe.get(name) != value]:
        raise BadSource(
            f"{', '.join(changed)}: a file was changed while it was read, and nothing of it was kept; the same command"
            " takes it as it is now"
        )


# ---- what is read of a folder ---------------------------------------------------------------------------------------


@contextmanager
def view(folder: str | Path) -> Iterator[Path]:
    """A private folder of the files of a folder that count, as links: nothing else is found by who reads it."""
    files = files_of(Path(folder).expanduser())
    with tempfile.TemporaryDirectory(prefix="modelcollapse-") as place:
        # One level deeper, so that what leads out of the folder leads to an empty one.
        root = Path(place, "view")
        root.mkdir()
        for name, file in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(file)
        yield root


def files_in_view(root: Path) -> dict[str, Path]:
    """Name -> link of the files of a view, in the order of :func:`files_of`."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: found[name] for name in sorted(found, key=lambda name: name.split("/"))}


@contextmanager
def naming_source(folder: Path, source: str) -> Iterator[None]:
    """Errors raised inside name a source as the settings do, and not the view that it is read through."""
    try:
        yield
    except BadSource as error:
        raise type(error)(str(error).replace(str(folder), source)) from error
