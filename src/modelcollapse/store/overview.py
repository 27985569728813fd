"""A store as text: its pieces by kind, and what each was made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from modelcollapse.store.manifest import Manifest
from modelcollapse.store.runs import Run

SHOWN_KEY = 12
MOST_RUNS_SHOWN = 2
UNITS = ("B", "kB", "MB", "GB", "TB")


def listing(manifests: Iterable[Manifest], runs: Sequence[Run]) -> Iterator[str]:
    """A heading for each kind, and a line for each of its pieces: key, size, when, seconds, what, which runs."""
    users = _users(runs)
    for kind, group in groupby(manifests, key=lambda manifest: manifest.kind):
        pieces = sorted(group, key=lambda manifest: (manifest.created, manifest.label))
        total = sum(map(piece_bytes, pieces))
        yield f"{kind}: {len(pieces)} {'piece' if len(pieces) == 1 else 'pieces'}, {readable_bytes(total)}"
        for piece in pieces:
            yield (
                f"  {piece.key[:SHOWN_KEY]}  {readable_bytes(piece_bytes(piece)):>9}  {piece.created[:16]}"
                f"  {piece.seconds:9.1f} s  {piece.label}{_named(users.get(piece.key, ()))}"
            )


def _users(runs: Iterable[Run]) -> Mapping[str, Sequence[str]]:
    users: dict[str, list[str]] = {}
    for run in runs:
        for key in run.pieces:
            users.setdefault(key, []).append(_short(run.folder))
    return users


def _short(folder: str) -> str:
    """The path from where the command is typed, where it leads down."""
    path = Path(folder)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else folder


def _named(folders: Sequence[str]) -> str:
    if not folders:
        return "  [no run]"
    more = f" and {len(folders) - MOST_RUNS_SHOWN} more" if len(folders) > MOST_RUNS_SHOWN else ""
    return f"  [{', '.join(folders[:MOST_RUNS_SHOWN])}{more}]"


def tree(manifests: Sequence[Manifest], key_prefix: str | None = None) -> Iterator[str]:
    """Each piece that nothing else was made from, or the one asked for, and under it what it was made from.

    What a piece was made from is shown where the piece comes first; two blanks a step back.
    """
    known = {manifest.key: manifest for manifest in manifests}
    used = {key for manifest in manifests for key in manifest.parents.values()}
    wanted = [key for key in known if (key not in used if key_prefix is None else key.startswith(key_prefix))]
    # A stack of its own: chains are longer than Python's recursion goes deep.
    waiting = [("", key, 0) for key in reversed(wanted)]
    shown: set[str] = set()
    while waiting:
        role, key, depth = waiting.pop()
        piece = known.get(key)
        yield "  " * depth + (f"{role}: " if role else "") + _line(key, piece, key in shown)
        if piece is not None and key not in shown:
            shown.add(key)
            waiting += [(role, parent, depth + 1) for role, parent in sorted(piece.parents.items(), reverse=True)]


def _line(key: str, piece: Manifest | None, is_shown: bool) -> str:
    if piece is None:
        return f"{key[:SHOWN_KEY]} (no longer in the store)"
    return f"{piece.kind} {key[:SHOWN_KEY]} ({piece.label})" + (", see above" if is_shown and piece.parents else "")


def piece_bytes(piece: Manifest) -> int:
    """Bytes of the piece's files."""
    return sum(record.bytes for record in piece.files.values())


def readable_bytes(count: float) -> str:
    """The number with a unit, powers of a thousand."""
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 or count >= 99.95 else f"{count:.1f} {UNITS[unit]}"
