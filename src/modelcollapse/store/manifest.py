"""Manifests: the description and checksums beside a finished artifact, and its verification."""

from __future__ import annotations

import functools
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from modelcollapse.store.artifacts import BuildContext, plain_json, recipe_key, sha256_of_json
from modelcollapse.store.files import IrregularFileError, plain_files, sha256_of_file, write_synced
from modelcollapse.surroundings import recorded

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 1
_RECORDED_LIBRARIES = ("torch", "pytorch_lightning", "transformers", "numpy")


class Damaged(Exception):
    """An artifact, or its manifest, does not match what was published."""

    def __init__(self, folder: Path, name: str, fault: str, advice: str = "") -> None:
        super().__init__(folder, name, fault, advice)
        self.folder = folder
        self.name = name
        self.fault = fault
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.folder / self.name} {self.fault}" + (f". {self.advice}" if self.advice else "")

    def advising(self, advice: str) -> Damaged:
        """Return the same finding with a sentence on what to do about it."""
        return Damaged(self.folder, self.name, self.fault, advice)


@dataclass(frozen=True)
class FileRecord:
    """Size and content of one file of an artifact."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Description of a finished artifact: recipe, parents, checksums, execution."""

    format: int
    kind: str
    key: str
    label: str
    recipe: dict[str, Any]
    parents: dict[str, str]
    """Role to key."""
    files: dict[str, FileRecord]
    """Path within the artifact, with forward slashes, to what is there; the manifest is not among them."""
    execution: dict[str, Any]
    """How it was executed: device, threads, batch sizes, as the stage reported, and variables that change rounding."""
    versions: dict[str, str]
    seconds: float
    """Wall-clock seconds of the work in the artifact, over all attempts; work lost to a kill is left out."""
    created: str
    """When it was finished, UTC, ISO 8601."""

    @classmethod
    def describe(cls, context: BuildContext, seconds: float) -> Manifest:
        """Describe what a build left in ``context.folder``.

        Raises:
            IrregularFileError: it left a link or a device.
            ValueError: it left nothing, or a file with the manifest's name.
            TypeError: ``context.execution`` holds something that is not a JSON value.
        """
        artifact = context.artifact
        files = plain_files(context.folder)
        if not files or MANIFEST_NAME in files:
            raise ValueError(f"the build of {artifact} must write files, and none named {MANIFEST_NAME}")
        return cls(
            format=MANIFEST_FORMAT,
            kind=artifact.kind,
            key=artifact.key,
            label=artifact.label,
            recipe=dict(artifact.recipe),
            parents={role: parent.key for role, parent in artifact.parents.items()},
            files={name: FileRecord(path.stat().st_size, sha256_of_file(path)) for name, path in files.items()},
            execution=plain_json(_execution(context), "execution"),
            versions=_versions(),
            seconds=round(seconds, 6),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a published folder.

        Raises:
            Damaged: it is missing, unreadable, of another format or altered, or belongs to another artifact.
        """
        fields = _read_fields(folder)
        if fields.get("format") != MANIFEST_FORMAT:
            raise Damaged(
                folder,
                MANIFEST_NAME,
                f"has format {fields.get('format')}, this version reads {MANIFEST_FORMAT}",
            )
        try:
            files = {name: FileRecord(**record) for name, record in fields.pop("files").items()}
            manifest = cls(**fields, files=files)
            outside = [name for name in files if not _is_inside(name)]
        except (AttributeError, KeyError, TypeError) as error:
            raise Damaged(folder, MANIFEST_NAME, f"lacks what a manifest holds ({error})") from error
        if outside:
            raise Damaged(folder, MANIFEST_NAME, f"names a file that is not in its folder: {outside[0]!r}")
        manifest._check_place(folder)
        return manifest

    def write(self, folder: Path) -> None:
        """Write the manifest, with a checksum of its fields, and wait until the disk has it."""
        fields = asdict(self)
        checked = {**fields, "checksum": sha256_of_json(fields)}
        write_synced(folder / MANIFEST_NAME, json.dumps(checked, indent=2, ensure_ascii=False) + "\n")

    def _check_place(self, folder: Path) -> None:
        named = (folder.parent.name, folder.name)
        if (self.kind, self.key) != named or recipe_key(self.kind, self.recipe, self.parents) != self.key:
            raise Damaged(folder, MANIFEST_NAME, f"is that of another artifact, {self.kind} {self.key}")


def verify(folder: Path) -> Manifest:
    """Check that a published folder holds exactly what its manifest says; every file is read.

    Raises:
        Damaged: a file or the manifest is missing, added, altered or foreign; the message names it.
        OSError: something cannot be read.
    """
    for damage in damages(folder):
        raise damage
    return Manifest.read(folder)


def damages(folder: Path) -> Iterator[Damaged]:
    """All differences between a published folder and its manifest; every file is read.

    Without a manifest nothing else can be judged: then that is the one finding.

    Raises:
        OSError: something cannot be read.
    """
    try:
        manifest = Manifest.read(folder)
        found = plain_files(folder)
    except IrregularFileError as error:
        yield Damaged(folder, error.name, "is neither a file nor a folder")
        return
    except Damaged as damage:
        yield damage
        return
    found.pop(MANIFEST_NAME, None)
    for name in sorted(found.keys() - manifest.files.keys()):
        yield Damaged(folder, name, "is not in the manifest")
    for name, record in manifest.files.items():
        if fault := _fault(record, found.get(name)):
            yield Damaged(folder, name, fault)


def _is_inside(name: str) -> bool:
    """Whether a name in a manifest is one that a file of the folder has: relative, with forward slashes, not beyond."""
    path = PurePosixPath(name)
    return bool(path.parts) and path.as_posix() == name and not path.is_absolute() and ".." not in path.parts


def _fault(record: FileRecord, path: Path | None) -> str | None:
    if path is None:
        return "is missing"
    size = path.stat().st_size
    if size != record.bytes:
        return f"has {size} bytes, {record.bytes} were published"
    if sha256_of_file(path) != record.sha256:
        return "was altered: it does not match its checksum"
    return None


def _read_fields(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_NAME
    if path.exists() and not path.is_file():
        # A named pipe would be waited for without end.
        raise Damaged(folder, MANIFEST_NAME, "is no file")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        checksum = fields.pop("checksum")
        intact = checksum == sha256_of_json(fields)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise Damaged(folder, MANIFEST_NAME, "is missing") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Damaged(folder, MANIFEST_NAME, f"is not a manifest ({error!r})") from error
    if not intact:
        raise Damaged(folder, MANIFEST_NAME, "was altered: it does not match its own checksum")
    return fields


def _execution(context: BuildContext) -> dict[str, Any]:
    """What the stage reported, and the variables that change rounding, where there are any."""
    variables = recorded()
    return {**context.execution, **({"environment": variables} if variables else {})}


def _versions() -> dict[str, str]:
    # Libraries are looked up among those already imported: importing one to ask its version would take
    # seconds, and one that the build did not import had no part in the result.
    imported = ((name, sys.modules.get(name)) for name in _RECORDED_LIBRARIES)
    libraries = {name: str(module.__version__) for name, module in imported if module is not None}
    return {"python": platform.python_version(), "modelcollapse": _own_version(), **libraries}


@functools.cache
def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("modelcollapse")
    except PackageNotFoundError:
        return "not installed"
