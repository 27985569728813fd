"""Locks between processes, one file a key.

These are POSIX record locks (``fcntl.lockf``). ``flock`` would not do: its locks belong to the open file, so
the data loading workers that a process forked inherit them, and when the process is killed its orphans go on
holding them. A record lock belongs to one process, ends with it, and no child inherits it.

Record locks have two traps of their own. They do not exclude anything within a process, and all locks that a
process has on a file are dropped when it closes *any* descriptor of that file. So a process keeps a register:
one descriptor a lock file, open while any thread of the process holds or awaits the lock, and a count of who
holds it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelcollapse.store.files import make_folder, naming

_SILENT_SECONDS = 0.5
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.5


@dataclass
class _LockFile:
    """A lock file that this process has open, and which of its threads hold the lock."""

    path: Path
    descriptor: int | None
    """None where the store can only be read and has no such file: nobody can hold the lock then."""
    writable: bool
    users: int = 0
    readers: Counter[int] = field(default_factory=Counter)
    writer: int | None = None

    def is_held_by_this_thread(self) -> bool:
        return self.writer == threading.get_ident() or self.readers[threading.get_ident()] > 0

    def try_shared(self) -> bool:
        if self.writer is not None:
            return False
        if not self.readers.total() and not self._lock(fcntl.LOCK_SH):
            return False
        self.readers[threading.get_ident()] += 1
        return True

    def try_exclusive(self, activity: str) -> bool:
        if not self.writable:
            raise PermissionError(errno.EACCES, "the store cannot be written to", str(self.path))
        if self.writer is not None or self.readers.total() or not self._lock(fcntl.LOCK_EX):
            return False
        self.writer = threading.get_ident()
        try:
            self._write_holder({"host": os.uname().nodename, "process": os.getpid(), "activity": activity})
        except OSError:
            self.release_exclusive()
            raise
        return True

    def release_shared(self) -> None:
        self.readers[threading.get_ident()] -= 1
        if not self.readers.total() and self.descriptor is not None:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def release_exclusive(self) -> None:
        self.writer = None
        assert self.descriptor is not None
        os.ftruncate(self.descriptor, 0)
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def holder(self) -> str:
        """Name the holder of the lock: a builder writes itself into the file, readers do not."""
        if self.descriptor is None:
            return "another process reads it"
        try:
            holder = json.loads(os.pread(self.descriptor, 4096, 0))
            return f"process {holder['process']} on {holder['host']} is {holder['activity']}"
        except (ValueError, KeyError, TypeError):
            return "another process reads it"

    def _lock(self, operation: int) -> bool:
        if self.descriptor is None:
            return True
        try:
            with naming(self.path):
                fcntl.lockf(self.descriptor, operation | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        # Whoever is still written here was killed: it did not strike itself out, and the lock is ours.
        if self.writable and os.fstat(self.descriptor).st_size:
            os.ftruncate(self.descriptor, 0)
        return True

    def _write_holder(self, holder: dict[str, str | int]) -> None:
        assert self.descriptor is not None
        with naming(self.path):
            os.pwrite(self.descriptor, json.dumps(holder).encode(), 0)


_register: dict[Path, _LockFile] = {}
_register_guard = threading.Lock()


def _forget_register() -> None:
    """Start a forked child without locks: it inherits the descriptors, not the locks on them."""
    global _register_guard
    _register_guard = threading.Lock()
    for lock_file in _register.values():
        if lock_file.descriptor is not None:
            os.close(lock_file.descriptor)
    _register.clear()


os.register_at_fork(after_in_child=_forget_register)


@contextmanager
def shared(path: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock beside other readers; waits for its builder, passing once to ``on_wait`` who that is.

    Raises:
        OSError: the lock file cannot be opened, or the file system has no locks.
        RuntimeError: the calling thread holds the lock exclusively, and would wait for itself.
    """
    with _opened(path) as lock_file:
        _wait(lock_file, lock_file.try_shared, lambda: lock_file.writer == threading.get_ident(), on_wait)
        try:
            yield
        finally:
            _release(lock_file, lock_file.release_shared)


@contextmanager
def exclusive(path: Path, activity: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock alone, for ``activity``; waits for others, passing once to ``on_wait`` who they are.

    Raises:
        OSError: the lock file cannot be written, or the file system has no locks.
        RuntimeError: the calling thread holds the lock already, and would wait for itself.
    """
    with _opened(path) as lock_file:
        _wait(lock_file, lambda: lock_file.try_exclusive(activity), lock_file.is_held_by_this_thread, on_wait)
        try:
            yield
        finally:
            _release(lock_file, lock_file.release_exclusive)


@contextmanager
def exclusive_if_free(path: Path, activity: str) -> Iterator[bool]:
    """Hold the lock exclusively if it is free, in this process too; yields whether it does.

    Raises:
        OSError: the lock file cannot be written, or the file system has no locks.
    """
    with _opened(path) as lock_file:
        with _register_guard:
            taken = lock_file.try_exclusive(activity)
        try:
            yield taken
        finally:
            if taken:
                _release(lock_file, lock_file.release_exclusive)


@contextmanager
def shared_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock shared if no process holds it exclusively; yields whether it does.

    Raises:
        OSError: the lock file cannot be opened, or the file system has no locks.
    """
    with _opened(path) as lock_file:
        with _register_guard:
            taken = lock_file.try_shared()
        try:
            yield taken
        finally:
            if taken:
                _release(lock_file, lock_file.release_shared)


def _wait(
    lock_file: _LockFile,
    attempt: Callable[[], bool],
    waits_for_itself: Callable[[], bool],
    on_wait: Callable[[str], None],
) -> None:
    # Polled rather than left to the kernel, which does not distinguish threads of one process: they wait in the
    # same way.
    started, pause, reported = time.monotonic(), _FIRST_PAUSE_SECONDS, False
    while True:
        with _register_guard:
            if waits_for_itself():
                raise RuntimeError(f"{lock_file.path}: this thread would wait for a lock that it holds itself")
            if attempt():
                return
        if not reported and time.monotonic() - started > _SILENT_SECONDS:
            on_wait(lock_file.holder())
            reported = True
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)


def _release(lock_file: _LockFile, release: Callable[[], None]) -> None:
    with _register_guard:
        if _register.get(lock_file.path) is lock_file:
            release()


@contextmanager
def _opened(path: Path) -> Iterator[_LockFile]:
    with _register_guard:
        lock_file = _register.get(path)
        if lock_file is None:
            lock_file = _register[path] = _open(path)
        lock_file.users += 1
    try:
        yield lock_file
    finally:
        with _register_guard:
            lock_file.users -= 1
            if not lock_file.users and _register.get(path) is lock_file:
                del _register[path]
                if lock_file.descriptor is not None:
                    os.close(lock_file.descriptor)


def _open(path: Path) -> _LockFile:
    try:
        make_folder(path.parent)
        return _LockFile(path, os.open(path, os.O_RDWR | os.O_CREAT, 0o666), writable=True)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        # A store of another user can be read, under shared locks, and a copy without them too.
        return _LockFile(path, os.open(path, os.O_RDONLY) if path.exists() else None, writable=False)
