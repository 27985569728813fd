"""The store: makes what is missing, once, and hands back what is finished.

A piece exists whole or not at all: it is filled beside its place, synced, and renamed. No two processes wait
for each other: whoever makes a piece holds its lock alone and those of its parents shared, so waits only go
from a piece to its ancestors; whoever moves a damaged piece aside holds nothing else; removal never waits.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from modelcollapse.store import locks
from modelcollapse.store.files import (
    delete,
    give_usual_modes,
    make_folder,
    naming,
    naming_full_disk,
    newest_change,
    sync,
    sync_below,
)
from modelcollapse.store.layout import Layout
from modelcollapse.store.manifest import MANIFEST_NAME, Damaged, Manifest, verify
from modelcollapse.store.pieces import Named, Piece, Workshop
from modelcollapse.store.runs import note_run


def announce_on_stderr(message: str) -> None:
    """Tell people something on the standard error stream."""
    print(message, file=sys.stderr, flush=True)


class Store:
    """Finished work under one root folder, shared by all processes that name the same root.

    Args:
        root: the store's folder; made when the first piece is.
        on_damage: move a damaged piece aside and make it again, or stop with :class:`Damaged`.
        announce: given one line whenever people should know: waiting for another process, a damaged piece.
    """

    def __init__(
        self,
        root: Path,
        *,
        on_damage: Literal["recompute", "stop"] = "recompute",
        announce: Callable[[str], None] = announce_on_stderr,
    ) -> None:
        # Resolved, because the lock register goes by path: one lock file under two names would be two locks.
        self._layout = Layout(Path(root).resolve())
        self._on_damage = on_damage
        self._announce = announce
        self._verified: dict[str, tuple[int, int]] = {}
        self._made: set[Piece] = set()

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self._layout.root

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return self._layout

    def folder(self, piece: Named) -> Path:
        """Where the piece is, or will be."""
        return self._layout.folder(piece)

    def has(self, piece: Named) -> bool:
        """Whether the piece is published; nothing is verified."""
        return self._identity(piece) is not None

    def missing(self, goals: Iterable[Piece]) -> list[Piece]:
        """List what obtaining the goals would make, parents first, each once.

        Parents are needed for what is missing only: those of a published piece may be gone.
        """
        planned: dict[str, Piece] = {}
        decided: set[str] = set()
        # A stack of its own: chains are longer than Python's recursion goes deep.
        stack = [(goal, False) for goal in reversed(list(goals))]
        while stack:
            piece, parents_are_planned = stack.pop()
            if parents_are_planned:
                planned[piece.key] = piece
            elif piece.key not in decided:
                decided.add(piece.key)
                if not self.has(piece):
                    stack.append((piece, True))
                    stack.extend((parent, False) for parent in reversed(list(piece.parents.values())))
        return list(planned.values())

    def obtain(self, piece: Piece) -> Path:
        """Return the piece's verified folder; makes what is missing, parents first.

        Content is verified once for each store object. Once this has returned, another process may remove the
        piece: use :meth:`reading` where that matters.

        Raises:
            Damaged: something needed is damaged, and the store is to stop then.
            OSError: the store cannot be read or written; the error names the path.
            Exception: whatever the maker of a piece raises. What it left in its progress folder is kept.
        """
        while not self._is_sound(piece):
            for absent in self.missing([piece]):
                if not self._produce(absent):
                    break
        return self.folder(piece)

    def has_made(self, piece: Piece) -> bool:
        """Whether this object made the piece, and no other process while it waited."""
        return piece in self._made

    @contextmanager
    def reading(self, piece: Piece) -> Iterator[Path]:
        """Obtain the piece, and let nobody remove it inside the ``with`` block.

        Raises:
            Exception: what :meth:`obtain` raises.
        """
        while True:
            folder = self.obtain(piece)
            with self._shared(piece):
                if self._is_verified(piece):
                    yield folder
                    return

    def remove(self, piece: Named) -> bool:
        """Take the piece's content away to save disk; gives whether it is gone.

        It stays, and the answer is False, while anybody reads or makes it. The progress of a piece that was
        never finished is kept.

        Raises:
            OSError: the store cannot be written; the error names the path.
        """
        with locks.exclusive_if_free(self._layout.lock(piece), f"removing {piece}") as free:
            if free:
                self._sweep(piece)
                if self.has(piece):
                    # Renamed first: a piece that is half deleted is never seen under its name.
                    self.folder(piece).rename(self._layout.temporary(piece))
                    self._sweep_temporaries(piece)
            return free

    def manifest(self, piece: Piece) -> Manifest:
        """Read the manifest of a published piece.

        Raises:
            LookupError: the piece is not in the store.
            Damaged: the manifest is not what was published.
        """
        if not self.has(piece):
            raise LookupError(f"{piece} is not in {self.root}")
        return Manifest.read(self.folder(piece))

    def find(self, key_prefix: str) -> tuple[Path, Manifest]:
        """Find the one published piece whose key begins so.

        Raises:
            LookupError: there is none, or there are several; the message lists them.
            Damaged: its manifest is not what was published.
        """
        folders = [folder for folder in self._layout.published() if folder.name.startswith(key_prefix)]
        if not folders:
            raise LookupError(f"no piece in {self.root} has a key that begins with {key_prefix!r}")
        if len(folders) > 1:
            listed = "".join(f"\n  {folder.parent.name} {folder.name}" for folder in folders)
            raise LookupError(f"{len(folders)} pieces have keys that begin with {key_prefix!r}:{listed}")
        return folders[0], Manifest.read(folders[0])

    def note_run(self, chain: str, folder: Path, pieces: Iterable[Piece]) -> None:
        """Note that the run in ``folder`` refers to these pieces, and to what they are made from.

        In a store that cannot be written to, of which a run only reads, nothing is noted.

        Raises:
            OSError: the disk is full.
        """
        try:
            note_run(self._layout, chain, folder, pieces, lambda holder: self._announce(f"waiting: {holder}"))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise

    def pieces(self) -> Iterator[Manifest]:
        """Read the manifests of all published pieces, sorted by kind and key; damaged ones are announced."""
        for folder in self._layout.published():
            try:
                yield Manifest.read(folder)
            except Damaged as damage:
                self._announce(f"passed over: {damage}")

    def _produce(self, piece: Piece) -> bool:
        """Make the piece unless somebody else does; False where a parent is gone and the plan is stale."""
        parents = set(piece.parents.values())
        if not all(self._is_sound(parent) for parent in parents):
            return False
        with self._exclusive(piece, "making"):
            if self.has(piece) or self._check_or_set_aside(piece):
                return True
            with self._sharing(parents) as undisturbed:
                if undisturbed:
                    self._build(piece)
                return undisturbed

    def _build(self, piece: Piece) -> None:
        """Make and publish the piece; its own lock and those of its parents are held."""
        self._sweep(piece)
        workshop = self._open_workshop(piece)
        try:
            seconds = _run_maker(workshop)
            manifest = Manifest.describe(workshop, seconds)
            sync_below(workshop.folder)
            manifest.write(workshop.folder)
            give_usual_modes(workshop.folder, MANIFEST_NAME)
            sync(workshop.folder)
            self._publish(workshop)
        except BaseException:
            # What cannot be cleared away here is swept before the next attempt; the first error is the one to
            # tell.
            shutil.rmtree(workshop.folder, ignore_errors=True)
            raise
        self._remember(piece, self._identity(piece))
        self._made.add(piece)
        self._sweep(piece)

    def _open_workshop(self, piece: Piece) -> Workshop:
        progress = self._layout.progress(piece) / "files"
        progress.mkdir(parents=True, exist_ok=True)
        temporary = self._layout.temporary(piece)
        make_folder(temporary.parent)
        temporary.mkdir()
        return Workshop(
            piece=piece,
            folder=temporary,
            progress=progress,
            parents={role: self.folder(parent) for role, parent in piece.parents.items()},
            discard=lambda path, fault: self._discard(piece, Damaged(path.parent, path.name, fault)),
        )

    def _publish(self, workshop: Workshop) -> None:
        place = self.folder(workshop.piece)
        try:
            workshop.folder.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Somebody published while we held the lock: a file system that does not honour locks.
            if self._check_or_set_aside(workshop.piece):
                shutil.rmtree(workshop.folder)
            else:
                workshop.folder.rename(place)
        sync(place.parent)

    def _is_sound(self, piece: Piece) -> bool:
        """Whether the piece is published and as it was; a damaged one is moved aside. Call without locks."""
        if self._is_verified(piece):
            return True
        if not self.has(piece):
            return False
        try:
            with self._shared(piece):
                sound = self._check(piece)
        except Damaged as damage:
            self._stop_if_asked(damage)
            # Looked at again with the lock held alone: another process may have replaced it by then.
            with self._exclusive(piece, "checking"):
                return self._check_or_set_aside(piece)
        self._finish_publication(piece)
        return sound

    def _check(self, piece: Piece) -> bool:
        """Verify the piece if it is there; its lock is held."""
        folder = self.folder(piece)
        if not os.path.lexists(folder):
            return False
        identity = self._identity(piece)
        verify(folder)
        self._remember(piece, identity)
        return True

    def _check_or_set_aside(self, piece: Piece) -> bool:
        """Verify the piece if it is there, move it aside if it is damaged; its lock is held alone."""
        try:
            return self._check(piece)
        except Damaged as damage:
            self._stop_if_asked(damage)
            aside = self._layout.aside(piece)
            make_folder(aside.parent)
            self.folder(piece).rename(aside)
            self._announce(f"damaged: {damage}; {piece} was moved to {aside} and is made again where needed")
            return False

    def _discard(self, piece: Piece, damage: Damaged) -> None:
        """Take damaged progress away; the piece's lock is held alone."""
        self._stop_if_asked(damage)
        self._announce(f"damaged: {damage}; {piece} goes on without it")
        delete(damage.folder / damage.name)

    def _stop_if_asked(self, damage: Damaged) -> None:
        if self._on_damage == "stop":
            raise damage.advising("To have it made again: store.on_damage=recompute") from None

    def _sweep(self, piece: Named) -> None:
        """Clear away what is left of making the piece, by killed processes too; its lock is held alone."""
        self._sweep_temporaries(piece)
        if self.has(piece):
            with suppress(FileNotFoundError):
                shutil.rmtree(self._layout.progress(piece))

    def _sweep_temporaries(self, piece: Named) -> None:
        for stale in self._layout.temporaries(piece):
            delete(stale)

    def _finish_publication(self, piece: Piece) -> None:
        """Sweep after a maker that was killed between publishing and dropping its progress."""
        if os.access(self._layout.progress(piece), os.W_OK):
            with locks.exclusive_if_free(self._layout.lock(piece), f"tidying {piece}") as free:
                if free:
                    self._sweep(piece)

    def _identity(self, piece: Named) -> tuple[int, int] | None:
        """What tells one publication of a piece from the next; None where it is not published."""
        try:
            status = (self.folder(piece) / MANIFEST_NAME).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_ino, status.st_mtime_ns

    def _remember(self, piece: Piece, identity: tuple[int, int] | None) -> None:
        if identity is not None:
            self._verified[piece.key] = identity

    def _is_verified(self, piece: Piece) -> bool:
        return piece.key in self._verified and self._verified[piece.key] == self._identity(piece)

    @contextmanager
    def _sharing(self, pieces: set[Piece]) -> Iterator[bool]:
        """Hold shared locks on verified pieces; gives whether they are still the ones that were verified."""
        with ExitStack() as held:
            for piece in pieces:
                held.enter_context(self._shared(piece))
            yield all(self._is_verified(piece) for piece in pieces)

    def _shared(self, piece: Piece) -> AbstractContextManager[None]:
        return locks.shared(self._layout.lock(piece), self._waiting_for(piece))

    def _exclusive(self, piece: Piece, activity: str) -> AbstractContextManager[None]:
        return locks.exclusive(self._layout.lock(piece), f"{activity} {piece}", self._waiting_for(piece))

    def _waiting_for(self, piece: Piece) -> Callable[[str], None]:
        return lambda holder: self._announce(f"waiting for {piece}: {holder}")


def _run_maker(workshop: Workshop) -> float:
    """Run the maker; returns the seconds of the work in the piece, those of earlier attempts included."""
    seconds_path = workshop.progress.parent / "seconds"
    earlier = _seconds_in_progress(seconds_path, workshop.progress)
    with naming(seconds_path):
        seconds_path.write_text(repr(earlier))
    started = time.monotonic()
    with naming_full_disk(workshop.folder):
        workshop.piece.make(workshop)
    return earlier + time.monotonic() - started


def _seconds_in_progress(seconds_path: Path, progress: Path) -> float:
    """Seconds of the work that earlier attempts left in the progress folder.

    A killed attempt could not write down when it ended. What it left tells: from the moment it noted the
    seconds before it until the last change it made.
    """
    try:
        before = float(seconds_path.read_text())
        seconds = before + max(0.0, newest_change(progress) - seconds_path.stat().st_mtime)
    except (FileNotFoundError, ValueError):
        # Never begun, or cut short by a power failure: a lost timing is no reason to stop.
        return 0.0
    return seconds if math.isfinite(seconds) and seconds >= 0 else 0.0
