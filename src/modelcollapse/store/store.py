"""The store: builds missing artifacts once among all processes, and returns verified folders.

An artifact exists whole or not at all: it is filled beside its place, synced, and renamed. There are no
deadlocks: whoever builds an artifact holds its lock exclusively and those of its parents shared, so waits only go from
an artifact to its ancestors; whoever moves a damaged artifact aside holds no other lock; removal never waits.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from modelcollapse.store import locks
from modelcollapse.store.artifacts import Artifact, BuildContext, Named
from modelcollapse.store.claims import claim_store
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
from modelcollapse.store.runs import note_run, noted_runs


def announce_on_stderr(message: str) -> None:
    """Print a line to the standard error stream."""
    print(message, file=sys.stderr, flush=True)


class Store:
    """Finished work under one root folder, shared by all processes that name the same root.

    Args:
        root: the store's folder; created with the first artifact.
        on_damage: move a damaged artifact aside and build it again, or stop with :class:`Damaged`.
        announce: called with one line of text for users, on waiting for another process and on damage.
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
        self._built: set[Artifact] = set()

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self._layout.root

    @property
    def layout(self) -> Layout:
        """The paths of the store."""
        return self._layout

    def folder(self, artifact: Named) -> Path:
        """Where the artifact is, or will be."""
        return self._layout.folder(artifact)

    def has(self, artifact: Named) -> bool:
        """Whether the artifact is published; nothing is verified."""
        return self._identity(artifact) is not None

    def missing(self, goals: Iterable[Artifact]) -> list[Artifact]:
        """List the artifacts that obtaining the goals would build, parents first, each once.

        Parents are needed for what is missing only: those of a published artifact may be gone.
        """
        planned: dict[str, Artifact] = {}
        decided: set[str] = set()
        # A stack of its own: chains are longer than Python's recursion goes deep.
        stack = [(goal, False) for goal in reversed(list(goals))]
        while stack:
            artifact, parents_are_planned = stack.pop()
            if parents_are_planned:
                planned[artifact.key] = artifact
            elif artifact.key not in decided:
                decided.add(artifact.key)
                if not self.has(artifact):
                    stack.append((artifact, True))
                    stack.extend((parent, False) for parent in reversed(list(artifact.parents.values())))
        return list(planned.values())

    def obtain(self, artifact: Artifact) -> Path:
        """Return the artifact's verified folder; builds what is missing, parents first.

        Content is verified once for each store object. Once this has returned, another process may remove the
        artifact: use :meth:`reading` where that matters.

        Raises:
            Damaged: something needed is damaged, and the store is to stop then.
            OSError: the store cannot be read or written; the error names the path.
            Exception: whatever the build of an artifact raises. Its progress folder is kept.
        """
        while not self._is_sound(artifact):
            for absent in self.missing([artifact]):
                if not self._produce(absent):
                    break
        return self.folder(artifact)

    def has_built(self, artifact: Artifact) -> bool:
        """Whether this object built the artifact, rather than another process while it waited."""
        return artifact in self._built

    @contextmanager
    def reading(self, artifact: Artifact) -> Iterator[Path]:
        """Obtain the artifact, and protect it from removal inside the ``with`` block.

        Raises:
            Exception: what :meth:`obtain` raises.
        """
        while True:
            folder = self.obtain(artifact)
            with self._shared(artifact):
                if self._is_verified(artifact):
                    yield folder
                    return

    def remove(self, artifact: Named) -> bool:
        """Remove the artifact's content to save disk; returns whether it was removed.

        It stays, and the answer is False, while any process reads or builds it. The progress of an artifact that was
        never finished is kept.

        Raises:
            OSError: the store cannot be written; the error names the path.
        """
        with locks.exclusive_if_free(self._layout.lock(artifact), f"removing {artifact}") as free:
            if free:
                self._sweep(artifact)
                if self.has(artifact):
                    # Renamed first: an artifact that is half deleted is never seen under its name.
                    self.folder(artifact).rename(self._layout.temporary(artifact))
                    self._sweep_temporaries(artifact)
            return free

    def remove_unless_kept(self, artifacts: Sequence[Named], folder: Path) -> None:
        """Remove artifacts that the run in ``folder`` needs no more, but for those that another run keeps.

        Raises:
            Damaged: the note of a run cannot be read.
            OSError: the store cannot be written; the error names the path.
        """
        own = str(folder.resolve())
        with locks.exclusive(self._layout.runs_lock, "removing what no run keeps", self._waiting):
            others = [run for _, run in noted_runs(self._layout) if run.folder != own and run.refers]
            kept = {key for run in others for key in {*run.artifacts} - {*run.dispensable}}
            for artifact in artifacts:
                if artifact.key not in kept:
                    self.remove(artifact)

    def manifest(self, artifact: Artifact) -> Manifest:
        """Read the manifest of a published artifact.

        Raises:
            LookupError: the artifact is not in the store.
            Damaged: the manifest is not what was published.
        """
        if not self.has(artifact):
            raise LookupError(f"{artifact} is not in {self.root}")
        return Manifest.read(self.folder(artifact))

    def find(self, key_prefix: str) -> tuple[Path, Manifest]:
        """Find the one published artifact whose key begins so.

        Raises:
            LookupError: there is none, or there are several; the message lists them.
            Damaged: its manifest is not what was published.
        """
        folders = [folder for folder in self._layout.published() if folder.name.startswith(key_prefix)]
        if not folders:
            raise LookupError(f"no artifact in {self.root} has a key that begins with {key_prefix!r}")
        if len(folders) > 1:
            listed = "".join(f"\n  {folder.parent.name} {folder.name}" for folder in folders)
            raise LookupError(f"{len(folders)} artifacts have keys that begin with {key_prefix!r}:{listed}")
        return folders[0], Manifest.read(folders[0])

    def note_run(
        self, chain: str, folder: Path, artifacts: Iterable[Artifact], dispensable: Iterable[Artifact] = ()
    ) -> None:
        """Note that the run in ``folder`` refers to these artifacts, and to what they are made from.

        ``dispensable`` are those of them that it removes once it needs them no more.

        In a store that cannot be written to, of which a run only reads, nothing is noted.

        Raises:
            OSError: the disk is full.
        """
        try:
            claim_store(self.root)
            note_run(self._layout, chain, folder, artifacts, self._waiting, dispensable)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise

    def artifacts(self) -> Iterator[Manifest]:
        """Read the manifests of all published artifacts, sorted by kind and key; damaged ones are announced."""
        for folder in self._layout.published():
            try:
                yield Manifest.read(folder)
            except Damaged as damage:
                self._announce(f"passed over: {damage}")

    def _produce(self, artifact: Artifact) -> bool:
        """Build the artifact unless another process does; False where a parent is gone and the plan is stale."""
        parents = set(artifact.parents.values())
        if not all(self._is_sound(parent) for parent in parents):
            return False
        with self._exclusive(artifact, "building"):
            if self.has(artifact) or self._check_or_set_aside(artifact):
                return True
            with self._sharing(parents) as undisturbed:
                if undisturbed:
                    self._build_and_publish(artifact)
                return undisturbed

    def _build_and_publish(self, artifact: Artifact) -> None:
        """Build and publish the artifact; its own lock and those of its parents are held."""
        self._sweep(artifact)
        context = self._open_context(artifact)
        try:
            seconds = _run_build(context)
            manifest = Manifest.describe(context, seconds)
            sync_below(context.folder)
            manifest.write(context.folder)
            give_usual_modes(context.folder, MANIFEST_NAME)
            sync(context.folder)
            self._publish(context)
        except BaseException:
            # What cannot be cleared away here is swept before the next attempt; the first error is the one to
            # raise.
            shutil.rmtree(context.folder, ignore_errors=True)
            raise
        self._remember(artifact, self._identity(artifact))
        self._built.add(artifact)
        self._sweep(artifact)

    def _open_context(self, artifact: Artifact) -> BuildContext:
        claim_store(self.root)
        progress = self._layout.progress(artifact) / "files"
        progress.mkdir(parents=True, exist_ok=True)
        temporary = self._layout.temporary(artifact)
        make_folder(temporary.parent)
        temporary.mkdir()
        return BuildContext(
            artifact=artifact,
            folder=temporary,
            progress=progress,
            parents={role: self.folder(parent) for role, parent in artifact.parents.items()},
            discard=lambda path, fault: self._discard(artifact, Damaged(path.parent, path.name, fault)),
        )

    def _publish(self, context: BuildContext) -> None:
        place = self.folder(context.artifact)
        try:
            context.folder.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Another process published while this one held the lock: the file system does not honour locks.
            if self._check_or_set_aside(context.artifact):
                shutil.rmtree(context.folder)
            else:
                context.folder.rename(place)
        sync(place.parent)

    def _is_sound(self, artifact: Artifact) -> bool:
        """Whether the artifact is published and as it was; a damaged one is moved aside. Call without locks."""
        if self._is_verified(artifact):
            return True
        if not self.has(artifact):
            return False
        try:
            with self._shared(artifact):
                sound = self._check(artifact)
        except Damaged as damage:
            self._stop_if_asked(damage)
            # Looked at again with the lock held alone: another process may have replaced it by then.
            with self._exclusive(artifact, "checking"):
                return self._check_or_set_aside(artifact)
        self._finish_publication(artifact)
        return sound

    def _check(self, artifact: Artifact) -> bool:
        """Verify the artifact if it is there; its lock is held."""
        folder = self.folder(artifact)
        if not os.path.lexists(folder):
            return False
        identity = self._identity(artifact)
        verify(folder)
        self._remember(artifact, identity)
        return True

    def _check_or_set_aside(self, artifact: Artifact) -> bool:
        """Verify the artifact if it is there, move it aside if it is damaged; its lock is held alone."""
        try:
            return self._check(artifact)
        except Damaged as damage:
            self._stop_if_asked(damage)
            aside = self._layout.aside(artifact)
            make_folder(aside.parent)
            self.folder(artifact).rename(aside)
            self._announce(f"damaged: {damage}; {artifact} was moved to {aside} and is made again where needed")
            return False

    def _discard(self, artifact: Artifact, damage: Damaged) -> None:
        """Take damaged progress away; the artifact's lock is held alone."""
        self._stop_if_asked(damage)
        self._announce(f"damaged: {damage}; {artifact} goes on without it")
        delete(damage.folder / damage.name)

    def _stop_if_asked(self, damage: Damaged) -> None:
        if self._on_damage == "stop":
            raise damage.advising("To have it made again: store.on_damage=recompute") from None

    def _sweep(self, artifact: Named) -> None:
        """Delete what building the artifact has left, by killed processes too; its lock is held exclusively."""
        self._sweep_temporaries(artifact)
        if self.has(artifact):
            with suppress(FileNotFoundError):
                shutil.rmtree(self._layout.progress(artifact))

    def _sweep_temporaries(self, artifact: Named) -> None:
        for stale in self._layout.temporaries(artifact):
            delete(stale)

    def _finish_publication(self, artifact: Artifact) -> None:
        """Sweep after a build that was killed between publishing and dropping its progress."""
        if os.access(self._layout.progress(artifact), os.W_OK):
            with locks.exclusive_if_free(self._layout.lock(artifact), f"tidying {artifact}") as free:
                if free:
                    self._sweep(artifact)

    def _identity(self, artifact: Named) -> tuple[int, int] | None:
        """Inode and modification time of this publication of the artifact; None where it is not published."""
        try:
            status = (self.folder(artifact) / MANIFEST_NAME).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_ino, status.st_mtime_ns

    def _remember(self, artifact: Artifact, identity: tuple[int, int] | None) -> None:
        if identity is not None:
            self._verified[artifact.key] = identity

    def _is_verified(self, artifact: Artifact) -> bool:
        return artifact.key in self._verified and self._verified[artifact.key] == self._identity(artifact)

    @contextmanager
    def _sharing(self, artifacts: set[Artifact]) -> Iterator[bool]:
        """Hold shared locks on verified artifacts; gives whether they are still the ones that were verified."""
        with ExitStack() as held:
            for artifact in artifacts:
                held.enter_context(self._shared(artifact))
            yield all(self._is_verified(artifact) for artifact in artifacts)

    def _waiting(self, holder: str) -> None:
        self._announce(f"waiting: {holder}")

    def _shared(self, artifact: Artifact) -> AbstractContextManager[None]:
        return locks.shared(self._layout.lock(artifact), self._waiting_for(artifact))

    def _exclusive(self, artifact: Artifact, activity: str) -> AbstractContextManager[None]:
        return locks.exclusive(self._layout.lock(artifact), f"{activity} {artifact}", self._waiting_for(artifact))

    def _waiting_for(self, artifact: Artifact) -> Callable[[str], None]:
        return lambda holder: self._announce(f"waiting for {artifact}: {holder}")


def _run_build(context: BuildContext) -> float:
    """Run ``build``; returns the seconds of the work in the artifact, those of earlier attempts included."""
    seconds_path = context.progress.parent / "seconds"
    earlier = _seconds_in_progress(seconds_path, context.progress)
    with naming(seconds_path):
        seconds_path.write_text(repr(earlier), encoding="utf-8")
    started = time.monotonic()
    with naming_full_disk(context.folder):
        try:
            context.artifact.build(context)
        except Exception as error:
            error.add_note(f"while computing {context.artifact.label}")
            raise
    return earlier + time.monotonic() - started


def _seconds_in_progress(seconds_path: Path, progress: Path) -> float:
    """Seconds of the work that earlier attempts left in the progress folder.

    A killed attempt could not write down when it ended. What it left shows when: from the moment it noted the
    seconds before it until the last change it made.
    """
    try:
        before = float(seconds_path.read_text(encoding="utf-8"))
        seconds = before + max(0.0, newest_change(progress) - seconds_path.stat().st_mtime)
    except (FileNotFoundError, ValueError):
        # Never begun, or cut short by a power failure: a lost timing is no reason to stop.
        return 0.0
    return seconds if math.isfinite(seconds) and seconds >= 0 else 0.0
