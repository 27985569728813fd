"""Atomic, synced writing of files and folders, checksums, and errors that name the file."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from modelcollapse.errors import is_full_disk


class IrregularFileError(ValueError):
    """A folder holds something other than plain files and folders."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self.folder = folder
        self.name = name

    def __str__(self) -> str:
        return f"{self.folder / self.name}: only plain files and folders can be kept, no links or devices"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name ``path`` in an OSError raised inside that names none, as write and fsync on a full disk do."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Name ``path`` where an error raised inside says that the disk is full, and names no file.

    Some libraries raise errors of their own for that: they become an OSError here.
    """
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        if not isinstance(error, OSError):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if error.filename is None:
            error.filename = str(path)
        raise


def plain_files(folder: Path) -> dict[str, Path]:
    """List the files under ``folder`` by their path within it, with forward slashes, sorted.

    Raises:
        IrregularFileError: there is a link, a device, a socket.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            files[name] = path
        elif not stat.S_ISDIR(mode):
            raise IrregularFileError(folder, name)
    return files


def sha256_of_file(path: Path) -> str:
    """Compute the SHA-256 of a file's content, in hexadecimal."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_synced(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` and wait until the disk has it."""
    with naming(path), path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until the disk has a file's content, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_below(folder: Path) -> None:
    """Wait until the disk has everything under ``folder``, but for the folder's own list of names."""
    for path in folder.rglob("*"):
        sync(path)


def give_usual_modes(folder: Path, example: str) -> None:
    """Give all files in ``folder`` the permissions of the file ``example`` in it.

    Some libraries create files that only their owner may read, whatever the umask; a store may be shared.
    """
    mode = stat.S_IMODE((folder / example).stat().st_mode)
    for path in plain_files(folder).values():
        path.chmod(mode)


def temporary_beside(path: Path) -> Path:
    """Where this process writes what it renames to ``path`` once it is whole."""
    return path.with_name(f".{path.name}.{os.uname().nodename}-{os.getpid()}")


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file atomically and durably, and delete the temporary files of killed processes."""
    with whole_file(path) as file:
        file.write(content)
    return path


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write in parts, which is there as a whole at the end or not at all; see :func:`write_whole`."""
    delete_abandoned(path.parent, path.name)
    temporary = temporary_beside(path)
    try:
        with naming(path), temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def delete_abandoned(folder: Path, name: str = "*") -> None:
    """Delete temporary files of ``name`` that dead processes of this machine left in ``folder``."""
    for path in folder.glob(f".{name}.{os.uname().nodename}-*"):
        process = path.name.rpartition("-")[2]
        if process.isdecimal() and not is_alive(int(process)):
            delete(path)


def is_alive(process: int) -> bool:
    """Whether a process of this machine, by its number, has not ended.

    One that has ended keeps its number until its parent asks for its exit code: in a container, for ever perhaps.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        # macOS has no such files.
        return False
    return state == b"Z"


def make_folder(folder: Path) -> None:
    """Make ``folder`` where it is missing, its parents too, and wait until the disk has their names."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def delete(path: Path) -> None:
    """Remove a file or a folder with its content, if it exists; of a link, the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def newest_change(folder: Path) -> float:
    """Time of the last change under ``folder``, in seconds since the epoch, on its file system's clock."""
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
