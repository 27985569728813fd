"""Run notes: every run registers its folder and the keys of its chain's artifacts in the store.

A note protects these artifacts from :mod:`modelcollapse.store.collecting`. A run counts as long as its folder is there
and is still that chain's; whether it finished, was interrupted or is at work makes no difference.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from modelcollapse.store import locks
from modelcollapse.store.artifacts import Artifact, sha256_of_json, with_ancestors
from modelcollapse.store.claims import is_in_use, read_claim
from modelcollapse.store.files import make_folder, write_whole
from modelcollapse.store.layout import Layout
from modelcollapse.store.manifest import Damaged

IDENTITY_FILE, PROVENANCE_FILE = "chain.json", "provenance.jsonl"
"""Files of a run folder; see :mod:`modelcollapse.record`."""
ADVICE = "The run's command writes it anew; delete it if that run is gone"


@dataclass(frozen=True)
class Run:
    """A run folder, and the artifacts that it refers to."""

    folder: str
    """Absolute path."""
    host: str
    """Machine that the path is of."""
    chain: str
    """The chain's id."""
    artifacts: tuple[str, ...]
    """Keys, those of the artifacts that the chain's own are made from among them."""
    dispensable: tuple[str, ...] = ()
    """Keys of those that the run itself removes (``store.keep=ends``)."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the folder is on another machine, and cannot be seen from this one."""
        return self.host != os.uname().nodename and not Path(self.folder).exists()

    @property
    def is_at_work(self) -> bool:
        """Whether a process computes the run now, as far as can be seen from this machine."""
        claim = read_claim(Path(self.folder))
        return is_in_use(Path(self.folder), claim) or (claim is not None and claim.is_elsewhere)

    @property
    def refers(self) -> bool:
        """Whether the run still counts: its folder is there and holds this chain, or cannot be looked at from here."""
        return self.is_elsewhere or _chain_in(Path(self.folder)) in (self.chain, None)


def note_run(
    layout: Layout,
    chain: str,
    folder: Path,
    artifacts: Iterable[Artifact],
    on_wait: Callable[[str], None],
    dispensable: Iterable[Artifact] = (),
) -> None:
    """Note that the run in ``folder`` refers to these artifacts and to all that they are made from.

    From then on they are safe: the note waits for a collection that is under way, and later ones see it.

    Raises:
        OSError: the store cannot be written.
    """
    keys = tuple(sorted(artifact.key for artifact in with_ancestors(artifacts)))
    spared = tuple(sorted(artifact.key for artifact in dispensable))
    run = Run(str(folder.resolve()), os.uname().nodename, chain, keys, spared)
    with locks.shared(layout.runs_lock, on_wait):
        make_folder(layout.runs)
        place = layout.runs / f"{chain}-{sha256(run.folder.encode()).hexdigest()[:16]}.json"
        fields = json.loads(json.dumps(asdict(run)))
        write_whole(place, (json.dumps({**fields, "checksum": sha256_of_json(fields)}) + "\n").encode())


def noted_runs(layout: Layout) -> Iterator[tuple[Path, Run]]:
    """All notes with their files, those of runs that no longer count among them.

    Raises:
        Damaged: a note cannot be read, so that what it protects is unknown.
    """
    for path in sorted(layout.runs.glob("*.json")):
        yield path, _read(path)


def runs_below(folder: Path) -> Iterator[Run]:
    """The runs whose folders lie anywhere below, by what they recorded; their artifacts lack what those are made from.

    Raises:
        ValueError: a record is damaged.
    """
    for provenance in sorted(folder.rglob(PROVENANCE_FILE)):
        keys = {key for line in _whole_lines(provenance) for name, key in line.items() if name != "generation"}
        place = provenance.parent.resolve()
        yield Run(str(place), os.uname().nodename, _chain_in(place) or "", tuple(sorted(keys)))


def _read(path: Path) -> Run:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        intact = fields.pop("checksum") == sha256_of_json(fields)
        listed = {name: tuple(fields.get(name, ())) for name in ("artifacts", "dispensable")}
        run = Run(**{**fields, **listed})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(path.parent, path.name, f"is not the note of a run ({error!r})", ADVICE) from error
    if not intact:
        raise Damaged(path.parent, path.name, "was altered: it does not match its own checksum", ADVICE)
    return run


def _chain_in(folder: Path) -> str | None:
    """The chain that a folder is the record of; ``""`` where it is none, None where it cannot be read."""
    try:
        return str(json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8"))["id"])
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _whole_lines(path: Path) -> Iterator[dict[str, str]]:
    """The JSON lines of a file; a last line without its end, of a killed process, is left out."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        yield json.loads(line)
