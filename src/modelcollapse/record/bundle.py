"""Bundles: archives of runs that others can check. What is in one, writing its bytes, and reading it with distrust.

A bundle is a ZIP archive whose members are not compressed, in the order of their names with ``manifest.json`` at the
end, and with fixed times: equal content gives equal bytes, and nothing in it is larger than the file itself.

==================================  ===================================================================================
``runs/<n>/settings.json``          the settings of run n as composed, without what says where its files lie
``runs/<n>/<file>``                 its record: ``chain.json``, ``generations.jsonl``, ``provenance.jsonl``, tables, ...
``artifacts/<kind>/<key>/...``      ``manifest.json`` of every artifact: recipe, code, parents, checksums, execution;
                                    its files where they were asked for. Unpacked, the folder is a store
``README.md``                       what this is, for people
``manifest.json``                   the version of this format, the runs, size and SHA-256 of every other member
==================================  ===================================================================================

Whoever reads a bundle does not know who made it. So its sizes are bounded before they are read, its names are compared
with what such names look like, and it is never unpacked as it is: what is written are files of names known here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from modelcollapse.errors import UserError
from modelcollapse.settings import shown

FORMAT = 1
MANIFEST, README, SETTINGS = "manifest.json", "README.md", "settings.json"
NEEDED = (SETTINGS, "chain.json", "generations.jsonl", "provenance.jsonl")
"""Files without which a run cannot be compared."""
MOST_MEMBERS, MOST_RUNS = 500_000, 10_000
MOST_DIRECTORY_BYTES, MOST_JSON_BYTES = 1 << 27, 1 << 26
"""Of the archive's own list of members, and of a member that is read as a whole."""
MOST_RECORD_BYTES = 1 << 30
"""Of a file of JSON lines."""
MOST_CHARACTERS, MOST_DEPTH = 300, 60
OF_RUNS = re.compile(r"runs/(?:0|[1-9][0-9]{0,4})/[a-z][A-Za-z0-9_-]{0,80}\.(?:json|jsonl|parquet|md|yaml)")
OF_ARTIFACTS = re.compile(r"artifacts/(?P<kind>[a-z][a-z0-9_-]{0,60})/(?P<key>[0-9a-f]{32})/(?P<file>.{1,200})")
TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a ZIP archive can hold; all members have it."""
MODE = (stat.S_IFREG | 0o644) << 16
UNIX, ENCRYPTED = 3, 1
CHUNK_BYTES = 1 << 20
END, END_64 = "<4s4H2LH", "<4sQ2H2L4Q"
"""The records at the end of a ZIP archive."""


class BadBundle(UserError):
    """A file is no bundle, is damaged, or holds what no bundle holds."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path}: {fault}")


@dataclass(frozen=True)
class Member:
    """Size and content of a member."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class BundledRun:
    """A run of a bundle, as its manifest describes it."""

    title: str
    """Its name among the others: the overrides that vary in a sweep."""
    status: str
    """How it ended."""
    give: tuple[str, ...] = ()
    """Settings that said where files lie, which whoever runs it again must give."""
    lacking: tuple[str, ...] = ()
    """What the run has not, or what could not be taken along."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle."""

    path: Path
    runs: tuple[BundledRun, ...]
    members: Mapping[str, Member]

    def has(self, name: str) -> bool:
        """Whether there is a member of this name."""
        return name in self.members

    def read(self, name: str) -> bytes:
        """A member as a whole, which is still what was verified. Raises BadBundle where it is not."""
        with _opened(self.path) as archive:
            return self._read(archive, name)

    def _read(self, archive: zipfile.ZipFile, name: str) -> bytes:
        content = archive.read(name)
        if hashlib.sha256(content).hexdigest() != self.members[name].sha256:
            raise BadBundle(self.path, f"{name} was changed while it was read")
        return content

    def settings(self, run: int) -> dict[str, Any]:
        """The settings of a run as plain values."""
        name = f"runs/{run}/{SETTINGS}"
        found = read_json(self.path, name, self.read(name))
        if not isinstance(found, dict):
            raise BadBundle(self.path, f"{name} holds no settings")
        return found

    def manifests(self) -> Iterator[tuple[str, str, bytes]]:
        """Kind, key and ``manifest.json`` of every artifact."""
        with _opened(self.path) as archive:
            for name in self.members:
                found = OF_ARTIFACTS.fullmatch(name)
                if found is not None and found["file"] == MANIFEST:
                    yield found["kind"], found["key"], self._read(archive, name)


# ---- writing ---------------------------------------------------------------------------------------------------------


def write_bundle(
    file: IO[bytes],
    runs: Sequence[BundledRun],
    members: Mapping[str, bytes | Path],
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Member]:
    """Write an archive of these members, and ``manifest.json`` at its end; returns what was written.

    Args:
        file: open for writing, empty.
        runs: descriptions of the runs.
        members: name -> content, or the file that has it.
        advance: called with numbers of bytes that were written.

    Raises:
        ValueError: a name is not allowed in a bundle.
        OSError: a file cannot be read, or the archive not be written.
    """
    if foreign := [name for name in members if not _is_allowed(name)]:
        raise ValueError(f"{foreign[0]!r} is no name of a member")
    with zipfile.ZipFile(file, "w") as archive:
        written = {name: _write_member(archive, name, members[name], advance) for name in sorted(members)}
        described = {name: asdict(member) for name, member in written.items()}
        content = {"format": FORMAT, "runs": [asdict(run) for run in runs], "members": described}
        _write_member(archive, MANIFEST, json_bytes(content), advance)
    return written


def json_bytes(content: Any) -> bytes:
    """JSON for a member. Raises ValueError for NaN and infinities."""
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _write_member(archive: zipfile.ZipFile, name: str, content: bytes | Path, advance: Callable[[int], None]) -> Member:
    info = zipfile.ZipInfo(name, TIME)
    info.create_system, info.external_attr = UNIX, MODE
    info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    digest, count = hashlib.sha256(), 0
    with archive.open(info, "w") as written:
        for chunk in (content,) if isinstance(content, bytes) else _chunks(content):
            written.write(chunk)
            digest.update(chunk)
            count += len(chunk)
            advance(len(chunk))
    return Member(count, digest.hexdigest())


def _chunks(path: Path) -> Iterator[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


# ---- reading ---------------------------------------------------------------------------------------------------------


def open_bundle(path: Path, advance: Callable[[int], None] = lambda count: None) -> Bundle:
    """Verify a bundle: form, names, sizes, and the checksum of every member. Nothing is written.

    Args:
        path: of the file.
        advance: called with numbers of bytes that were read.

    Raises:
        BadBundle: it is none, is damaged, or holds what no bundle holds.
        OSError: it cannot be read.
    """
    with _opened(path) as archive:
        infos = _infos(path, archive)
        content = _manifest(path, archive, infos)
        runs, members = _runs(path, content), _members(path, content)
        _check_names(path, runs, members, infos)
        for name, member in members.items():
            if _digest(archive, infos[name], advance) != member.sha256:
                raise BadBundle(path, f"{name} was altered: it does not match its checksum")
    return Bundle(path, runs, members)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, its own list of members bounded. Whatever is wrong with it is raised as BadBundle."""
    # Opened without waiting for what is no file, such as a named pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadBundle(path, "is no file")
    with os.fdopen(descriptor, "rb") as file:
        _check_directory(path, file)
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except (zipfile.BadZipFile, NotImplementedError, EOFError, KeyError, struct.error, ValueError) as error:
            raise BadBundle(path, f"is a damaged archive ({error})") from error


def _check_directory(path: Path, file: IO[bytes]) -> None:
    """Refuse an archive whose list of members is larger than any bundle's: it would be read as a whole."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - struct.calcsize(END)))
    found = file.read()
    if len(found) != struct.calcsize(END) or not found.startswith(b"PK\x05\x06"):
        raise BadBundle(path, "is no bundle, which `modelcollapse bundle RUN` writes")
    *_, count, length, offset, _ = struct.unpack(END, found)
    if count == 0xFFFF or 0xFFFFFFFF in (length, offset):
        place = size - struct.calcsize(END) - 20 - struct.calcsize(END_64)
        file.seek(max(0, place))
        found = file.read(struct.calcsize(END_64))
        if place >= 0 and found.startswith(b"PK\x06\x06"):
            *_, count, length, offset = struct.unpack(END_64, found)
    if count > MOST_MEMBERS or length > min(MOST_DIRECTORY_BYTES, size):
        raise BadBundle(path, f"lists {count} members in {length} bytes, more than a bundle has")


def _infos(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Name -> entry of every member, each a plain file of an allowed name, and no larger together than the archive."""
    infos = archive.infolist()
    for info in infos:
        if fault := _fault(info):
            raise BadBundle(path, f"{shown(info.orig_filename)} {fault}")
    if twice := [name for name, count in Counter(info.filename for info in infos).items() if count > 1]:
        raise BadBundle(path, f"{twice[0]} is there twice")
    if sum(info.file_size for info in infos) > path.stat().st_size:
        raise BadBundle(path, "its members are larger together than the archive that holds them")
    return {info.filename: info for info in infos}


def _fault(info: zipfile.ZipInfo) -> str | None:
    """What is wrong with the entry of a member."""
    mode = info.external_attr >> 16
    if info.filename != info.orig_filename or not _is_allowed(info.filename):
        return "is no name that a member of a bundle has"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is no plain file"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted, as no member of a bundle is"
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        return "is compressed, as no member of a bundle is; replay takes the file as `modelcollapse bundle` wrote it"
    return None


def _is_allowed(name: str) -> bool:
    if name in (MANIFEST, README) or OF_RUNS.fullmatch(name):
        return True
    found = OF_ARTIFACTS.fullmatch(name)
    if found is None or not name.isprintable() or "\\" in name:
        return False
    inside = PurePosixPath(found["file"])
    return inside.as_posix() == found["file"] and not inside.is_absolute() and ".." not in inside.parts


def _manifest(path: Path, archive: zipfile.ZipFile, infos: Mapping[str, zipfile.ZipInfo]) -> dict[str, Any]:
    if MANIFEST not in infos:
        raise BadBundle(path, f"is no bundle: {MANIFEST} is missing")
    if infos[MANIFEST].file_size > MOST_JSON_BYTES:
        raise BadBundle(path, f"{MANIFEST} is larger than that of any bundle")
    content = read_json(path, MANIFEST, archive.read(MANIFEST))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise BadBundle(path, f"{MANIFEST} has format {shown(found)}; this version of modelcollapse reads {FORMAT}")
    if content.keys() != {"format", "runs", "members"}:
        raise BadBundle(path, f"{MANIFEST} must hold format, runs and members, and nothing else")
    return content


def _runs(path: Path, content: Mapping[str, Any]) -> tuple[BundledRun, ...]:
    runs = content["runs"]
    if not isinstance(runs, list) or not 0 < len(runs) <= MOST_RUNS:
        raise BadBundle(path, f"{MANIFEST} names no runs, or more than {MOST_RUNS}")
    try:
        found = tuple(BundledRun(**run) for run in runs)
    except TypeError as error:
        raise BadBundle(path, f"{MANIFEST} describes a run otherwise than bundles do") from error
    for run in found:
        texts = (run.title, run.status, *_listed(run.give), *_listed(run.lacking))
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise BadBundle(path, f"{MANIFEST} describes a run otherwise than bundles do")
    return found


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (None,)


def _members(path: Path, content: Mapping[str, Any]) -> dict[str, Member]:
    members = content["members"]
    try:
        found = {name: Member(**described) for name, described in members.items()}
    except (AttributeError, TypeError) as error:
        raise BadBundle(path, f"{MANIFEST} describes a member otherwise than bundles do") from error
    for name, member in found.items():
        is_whole = type(member.bytes) is int and isinstance(member.sha256, str)
        if not is_whole or not _is_allowed(name) or name == MANIFEST:
            raise BadBundle(path, f"{MANIFEST} describes a member otherwise than bundles do: {shown(name)}")
    return found


def _check_names(
    path: Path, runs: Sequence[BundledRun], members: Mapping[str, Member], infos: Mapping[str, zipfile.ZipInfo]
) -> None:
    """Refuse an archive that holds others than the members of its manifest, or of other sizes."""
    needed = {f"runs/{number}/{name}" for number in range(len(runs)) for name in NEEDED}
    of_others = [name for name in members if name.startswith("runs/") and int(name.split("/")[1]) >= len(runs)]
    for fault, names in (
        ("is missing", [*(members.keys() - infos.keys()), *(needed - members.keys())]),
        (f"is not in {MANIFEST}", infos.keys() - members.keys() - {MANIFEST}),
        ("is of a run that there is not", of_others),
        ("has another size than its description", [name for name in members if not _has_size(members, infos, name)]),
        ("is larger than a record is", [name for name in members if members[name].bytes > _most_bytes(name)]),
    ):
        if names:
            raise BadBundle(path, f"{min(names)} {fault}")


def _has_size(members: Mapping[str, Member], infos: Mapping[str, zipfile.ZipInfo], name: str) -> bool:
    return name not in infos or infos[name].file_size == members[name].bytes


def _most_bytes(name: str) -> float:
    """Bytes that a member may have, where it is read as a whole."""
    if name.endswith(".jsonl"):
        return MOST_RECORD_BYTES
    is_artifacts = name.startswith("artifacts/") and not name.endswith(f"/{MANIFEST}")
    return float("inf") if is_artifacts or name.endswith(".parquet") else MOST_JSON_BYTES


def _digest(archive: zipfile.ZipFile, info: zipfile.ZipInfo, advance: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with archive.open(info) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


# ---- JSON of others --------------------------------------------------------------------------------------------------


def read_json(path: Path, name: str, content: bytes) -> Any:
    """The value of a JSON member. Raises BadBundle where it is no JSON, or nested, long or large beyond reason."""
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_refuse_constant)
        _check(value, MOST_DEPTH)
    except RecursionError:
        raise BadBundle(path, f"{name} is nested deeper than that of any bundle") from None
    except ValueError as error:
        raise BadBundle(path, f"{name} cannot be read: {error}") from error
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _check(value: Any, depth: int) -> None:
    """Refuse depth, numbers that no float holds, and characters that a terminal obeys."""
    if depth < 0:
        raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
    if isinstance(value, dict):
        for name, item in value.items():
            if not name.isprintable() or len(name) > MOST_CHARACTERS:
                raise ValueError(f"{shown(name)} is no name")
            _check(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, str):
        if not value.replace("\n", "").replace("\t", "").isprintable():
            raise ValueError(f"{shown(value)} holds characters that are not printed")
    elif isinstance(value, (int, float)):
        _check_number(value)


def _check_number(value: float) -> None:
    if abs(value) > sys.float_info.max:
        raise ValueError("a number in it is too large")
