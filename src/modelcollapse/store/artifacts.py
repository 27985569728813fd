"""Artifacts and their keys.

The key of an artifact is a hash of what decides its content: its kind, its recipe and the keys of its parents. How it
was executed is not part of the key.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

from modelcollapse.store.files import delete

RESERVED_FOLDERS = frozenset({"locks", "progress", "damaged", "runs"})
KEY_PATTERN = re.compile(r"[0-9a-f]{32}")
_KIND_PATTERN = re.compile(r"[a-z][a-z0-9_-]*")


Work = Literal["input", "fit", "synthesis", "measurement"]


class Named(Protocol):
    """Anything with the kind and key of an artifact: an Artifact, a Manifest, a Name."""

    @property
    def kind(self) -> str:
        """Subfolder of the store."""
        ...

    @property
    def key(self) -> str:
        """Name within the subfolder."""
        ...


@dataclass(frozen=True)
class Name:
    """Kind and key of an artifact whose recipe is not at hand."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind} {self.key[:12]}"


@dataclass
class BuildContext:
    """The folders of an artifact that is being built: the argument of its ``build``."""

    artifact: Artifact
    folder: Path
    """Temporary folder to fill with the files to publish: plain files, in subfolders if need be."""
    progress: Path
    """Folder that survives a kill: the next process that builds this artifact finds its content.
    On the same file system as ``folder``: a file can be moved over. A kill may cut a file short: write, then
    rename."""
    parents: Mapping[str, Path]
    """Role to finished, verified folder, protected from removal while the artifact is built."""
    execution: dict[str, Any] = field(default_factory=dict)
    """How it was executed (device, threads, batch sizes), JSON values: for the manifest, not the key."""
    discard: Callable[[Path, str], None] = lambda path, fault: delete(path)
    """Called with a file or folder in ``progress`` that is not what was written there, and what is wrong with it:
    deletes it, or raises :class:`Damaged` where the store is to stop then."""


@dataclass(frozen=True, eq=False, repr=False)
class Artifact:
    """The declaration of an artifact, built or not. Artifacts are equal when their keys are.

    Raises:
        TypeError: the recipe holds something that is not a JSON value; the message names the place.
        ValueError: a number in the recipe is not finite, or ``kind`` cannot name a folder of the store.
    """

    kind: str
    """Subfolder of the store: "model", "synthetic", "score", "data", "tokenizer", "base" ..."""
    recipe: Mapping[str, Any]
    """JSON values that decide the content: settings, seed stream, version constant of the stage."""
    parents: Mapping[str, Artifact]
    """Role to the artifact that ``build`` reads. One artifact may fill several roles."""
    build: Callable[[BuildContext], None]
    """Fills ``context.folder``."""
    label: str
    """For people ("generation 3 · fit"); not in the key."""
    expected_bytes: int | None = None
    """Size on disk, for the plan; not in the key."""
    work: Work = "measurement"
    """Kind of work that building it is, for plans; not in the key."""
    operations: float | None = None
    """Floating-point operations that building it takes, about, for plans; not in the key."""
    progress_bytes: int | None = None
    """Size of what building it keeps in its progress folder, at most, for plans; not in the key."""
    key: str = field(init=False)
    """First 32 hexadecimal digits of the SHA-256 of kind, recipe and the keys of the parents."""

    def __post_init__(self) -> None:
        if not _KIND_PATTERN.fullmatch(self.kind) or self.kind in RESERVED_FOLDERS:
            raise ValueError(f"kind {self.kind!r} cannot name a folder of the store")
        parents = dict(self.parents)
        recipe = plain_json(self.recipe, "recipe")
        # The key is fixed here rather than on demand: a recipe cannot be changed behind it, and the keys of a
        # chain of thousands of generations never recurse.
        key = recipe_key(self.kind, recipe, {role: parent.key for role, parent in parents.items()})
        object.__setattr__(self, "recipe", MappingProxyType(recipe))
        object.__setattr__(self, "parents", MappingProxyType(parents))
        object.__setattr__(self, "key", key)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Artifact) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return f"{self.kind} {self.key[:12]} ({self.label})"

    def __repr__(self) -> str:
        return f"<Artifact {self}>"


def with_ancestors(artifacts: Iterable[Artifact]) -> set[Artifact]:
    """The artifacts, their parents, and so on to the first."""
    found: set[Artifact] = set()
    waiting = list(artifacts)
    while waiting:
        artifact = waiting.pop()
        if artifact not in found:
            found.add(artifact)
            waiting += artifact.parents.values()
    return found


def recipe_key(kind: str, recipe: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """Compute the key of an artifact from its kind, its recipe and its parents' keys by role."""
    return sha256_of_json({"kind": kind, "recipe": recipe, "parents": parents})[:32]


def sha256_of_json(value: object) -> str:
    """Compute the SHA-256, in hexadecimal, of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def canonical_json(value: object) -> str:
    """Serialize ``value`` to canonical JSON: equal values give equal text.

    Keys are sorted, floats written by ``repr``, tuples as lists, everything beyond ASCII escaped, no white
    space. An integer and a float of the same value differ, as 1 and 1.0 do.

    Raises:
        TypeError: something is not a JSON value.
        ValueError: a number is not finite.
    """
    return json.dumps(plain_json(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain_json(value: object, place: str = "value") -> Any:
    """Copy ``value`` into JSON's own types; ``place`` names it in errors.

    Subclasses of numbers and strings (NumPy's floats, enumerations) are refused: they decide how they are written,
    and two spellings of one recipe would be two keys.

    Raises:
        TypeError: something is not a JSON value.
        ValueError: a number is not finite.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{place} is {value}: only finite numbers can be written as JSON")
        return value
    if isinstance(value, Mapping):
        return {_text(name, place): plain_json(item, f"{place}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item, f"{place}[{index}]") for index, item in enumerate(value)]
    raise TypeError(
        f"{place} is {value!r}, a {type(value).__name__}: "
        "only null, bool, int, float, str, lists and mappings of these can be written as JSON"
    )


def _text(name: object, place: str) -> str:
    if type(name) is not str:
        raise TypeError(f"{place} has the name {name!r}, a {type(name).__name__}: names must be str")
    return name
