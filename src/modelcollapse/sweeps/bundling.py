"""Bundles of finished runs: what others need to run them again and to compare, in one archive."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelcollapse.config.composing import known_errors
from modelcollapse.credentials import without_secrets
from modelcollapse.errors import UserError
from modelcollapse.record import GENERATIONS_FILE, IDENTITY_FILE, read_lines
from modelcollapse.record.bundle import (
    MANIFEST,
    NEEDED,
    OF_RUNS,
    README,
    SETTINGS,
    BundledRun,
    json_bytes,
    write_bundle,
)
from modelcollapse.record.run_folder import CONFIG_FILE, METRICS_FILE, RunFolder
from modelcollapse.record.sweep_folder import GRID_FILE, SweepFolder
from modelcollapse.settings import MISSING, file_settings, may_differ
from modelcollapse.store import Damaged, Manifest, Store
from modelcollapse.store.files import delete_abandoned, naming, naming_full_disk, plain_files, temporary_beside
from modelcollapse.sweeps.measuring import runs_at

RECORD_SUFFIXES = (".jsonl", ".parquet", ".md")
RECORD_FILES = (IDENTITY_FILE, METRICS_FILE, "sources.json")
NOT_RECORDS = ("progress.json", "error.json")
HYDRA_OVERRIDES, OVERRIDES = Path(".hydra", "overrides.yaml"), "overrides.yaml"
LEFT_OUT: Mapping[str, Any] = {"tracking": {"kind": "none"}, "logger": [], "paths": {"store": "store"}, "plan": False}
"""Settings of whoever ran it, and what stands in their place."""
LEFT_OUT_OVERRIDES = ("tracking", "logger", "paths", "hydra", "+tracking", "+logger", "+hydra", "--config-dir", "-cd")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
PATH = re.compile(r"(?<![\w.~/:<-])(?:~|/(?=[^/\s]))[^\s'\",;:=(){}\[\]<>|]*/")
"""The folders of an absolute path, or of one below the home folder, wherever it stands in a text."""
SHORT = ".../"
MOST_NAMED = 3

INCOMPLETE = "--incomplete takes along what there is"


@dataclass
class Contents:
    """What goes into a bundle."""

    runs: list[BundledRun] = field(default_factory=list)
    members: dict[str, bytes | Path] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    """Key -> manifest of the artifacts that are taken along as a whole."""
    paths: set[str] = field(default_factory=set)
    """Names of members with absolute paths, which nothing here could shorten."""

    @property
    def bytes(self) -> int:
        """Bytes of all members."""
        sizes = (len(each) if isinstance(each, bytes) else each.stat().st_size for each in self.members.values())
        return sum(sizes)


def contents(folder: Path, *, artifacts: bool = False, incomplete: bool = False, store: Path | None = None) -> Contents:
    """What a bundle of a run, or of a sweep's runs, holds. Nothing is written.

    Args:
        folder: of a run, of a sweep, or above some.
        artifacts: whether the files of artifacts are taken along, and not their manifests alone.
        incomplete: whether runs that are not finished, and what is damaged or missing, are passed over.
        store: where the artifacts are, where that is not the store that the runs were run with.

    Raises UserError with all that stands in the way.
    """
    runs = _in_order(folder, runs_at(folder))
    found, problems = Contents(), list(_never_begun(folder))
    for number, run in enumerate(runs):
        with known_errors():
            problems += _add_run(found, number, run, _title(folder, run), _Choice(artifacts, incomplete, store))
    if problems and not incomplete:
        raise UserError("\n".join([*problems, f"nothing was written; {INCOMPLETE}"]))
    found.members[README] = _readme(found, artifacts).encode()
    found.paths |= {name for name, content in found.members.items() if _has_paths(name, content)}
    return found


def write_contents(found: Contents, path: Path, advance: Callable[[int], None] = lambda count: None) -> None:
    """Write a bundle, which appears whole or not at all.

    Raises:
        UserError: there is a file of that name.
        Damaged: an artifact is not what was published.
        OSError: something cannot be read or written.
    """
    if os.path.lexists(path):
        raise UserError(f"{path}: is there already; name another file with --output FILE")
    path.parent.mkdir(parents=True, exist_ok=True)
    delete_abandoned(path.parent, path.name)
    temporary = temporary_beside(path)
    try:
        with naming_full_disk(path), naming(path), temporary.open("xb") as file:
            written = write_bundle(file, found.runs, found.members, advance)
            _check_artifacts(found, {name: member.sha256 for name, member in written.items()})
            file.flush()
            os.fsync(file.fileno())
        _publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> None:
    try:
        # A link is made whole or not at all, and never over another file.
        os.link(temporary, path)
    except FileExistsError as error:
        raise UserError(f"{path}: is there already; name another file with --output FILE") from error
    except OSError:
        temporary.rename(path)


def _check_artifacts(found: Contents, written: Mapping[str, str]) -> None:
    for manifest in found.manifests.values():
        for name, record in manifest.files.items():
            member = f"artifacts/{manifest.kind}/{manifest.key}/{name}"
            if written[member] != record.sha256:
                raise Damaged(Path(manifest.kind, manifest.key), name, "was altered: it does not match its checksum")


@dataclass(frozen=True)
class _Choice:
    """What is asked for."""

    artifacts: bool
    incomplete: bool
    store: Path | None


# ---- which runs ------------------------------------------------------------------------------------------------------


def _in_order(folder: Path, runs: Sequence[RunFolder]) -> list[RunFolder]:
    def place(run: RunFolder) -> tuple[str, int, str]:
        name = run.path.name
        return (str(run.path.parent), int(name) if name.isdecimal() else -1, name)

    return sorted(runs, key=place)


def _never_begun(folder: Path) -> Iterator[str]:
    """Chains of a sweep that have no run folder."""
    if not (folder / GRID_FILE).is_file():
        return
    sweep = SweepFolder(folder)
    for chain in sweep.chains():
        if not (sweep.chain(chain.number) / GENERATIONS_FILE).is_file():
            yield f"{sweep.chain(chain.number)}: {chain.title} has not begun"


def _title(folder: Path, run: RunFolder) -> str:
    if (folder / GRID_FILE).is_file() and run.path.name.isdecimal():
        titles = {chain.number: chain.title for chain in SweepFolder(folder).chains()}
        return _printable(titles.get(int(run.path.name), run.path.name))
    return _printable(f"{run.identity.get('experiment')}, {run.identity.get('regime')}, {run.identity.get('seed')}")


def _printable(text: str) -> str:
    return "".join(character for character in _short(text) if character.isprintable())


# ---- one run ---------------------------------------------------------------------------------------------------------


def _add_run(found: Contents, number: int, run: RunFolder, title: str, choice: _Choice) -> list[str]:
    """Add what a run has; returns what stands in the way."""
    settings = _settings(run)
    lacking: list[str] = []
    if run.status != "finished":
        lacking.append(f"the run is not finished ({run.status})")
    elif len(run.generations) != settings.generations + 1:
        lacking.append(f"{len(run.generations)} of {settings.generations + 1} generations are recorded")
    lacking += _add_record(found, f"runs/{number}", run, settings.places)
    found.members[f"runs/{number}/{SETTINGS}"] = json_bytes(without_secrets(settings.values))
    if absent := [name for name in NEEDED if f"runs/{number}/{name}" not in found.members]:
        raise UserError(
            f"{run.path}: {', '.join(absent)} cannot be read; the run's own command writes the record again"
        )
    damaged, gone = _add_artifacts(found, run, choice)
    lacking += damaged
    notes = [f"the recipes of {gone} artifacts: they are no longer in the store"] if gone else []
    found.runs.append(BundledRun(title, run.status, settings.give, tuple(map(_printable, (*lacking, *notes)))))
    return [f"{run.path}: {problem}" for problem in lacking]


@dataclass(frozen=True)
class _Settings:
    """The settings of a run."""

    values: dict[str, Any]
    """As composed, without where files lie."""
    give: tuple[str, ...]
    """Names of those that were taken out."""
    places: Mapping[str, str]
    """Paths that were taken out -> what stands for them in texts."""
    generations: int
    """The last generation."""


def _settings(run: RunFolder) -> _Settings:
    from modelcollapse.config.settings import read_chain_settings

    if not run.config:
        raise UserError(f"{run.path}: its {CONFIG_FILE} is missing: what was run cannot be told")
    values = {**json.loads(json.dumps(run.config)), **LEFT_OUT}
    settings = read_chain_settings(values)
    named = {name: mark for name, _, mark in file_settings(settings) if not name.startswith("paths.")}
    give, places = [], {}
    for name, value in list(texts(values)):
        is_file = name in named and not (named[name].or_hub and HUB_ID.fullmatch(value))
        if is_file or is_elsewhere(value):
            places[value] = _short(value)
            # A name for people, which is often that of a folder, is none that has to be given.
            is_name = not is_file and may_differ(settings, name)
            set_value(values, name.split("."), _short(value) if is_name else MISSING)
            give += [] if is_name else [name]
    return _Settings(values, tuple(give), places, settings.generations)


def texts(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Full name and value of every setting that is text."""
    for name, value in values.items():
        dotted = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield from texts(value, dotted)
        elif isinstance(value, str):
            yield dotted, value


def is_elsewhere(text: str) -> bool:
    """Whether a text is a path that leads out of the folder where a command is typed."""
    return text.startswith(("/", "~")) or ".." in Path(text).parts


def set_value(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set the value of a setting whose groups are there."""
    *groups, name = path
    for group in groups:
        values = values[group]
    values[name] = value


def _add_record(found: Contents, place: str, run: RunFolder, places: Mapping[str, str]) -> Iterator[str]:
    """Add the files of a run's record; yields what is damaged."""
    for path in sorted(run.path.iterdir()):
        is_record = path.suffix in RECORD_SUFFIXES or path.name in RECORD_FILES
        if not is_record or path.is_symlink() or not path.is_file() or not OF_RUNS.fullmatch(f"{place}/{path.name}"):
            continue
        try:
            found.members[f"{place}/{path.name}"] = _content(path, places)
        except ValueError as error:
            yield f"{path.name} is damaged: {error}"
    if (run.path / HYDRA_OVERRIDES).is_file():
        found.members[f"{place}/{OVERRIDES}"] = _overrides(run.path / HYDRA_OVERRIDES)


def _content(path: Path, places: Mapping[str, str]) -> bytes | Path:
    """What a file of the record has, without secrets, and without folders of this machine where it describes the run.

    Generated texts stay as they are, whatever they look like, but for ``places``, which a heading may name.

    Raises ValueError where it is damaged.
    """
    if path.suffix == ".parquet":
        return path
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json_bytes(_shortened(without_secrets(json.loads(text))))
    if path.suffix == ".jsonl":
        read_lines(path)
    clean = str(without_secrets(text))
    for place, short in places.items() if path.suffix == ".md" else ():
        clean = clean.replace(place, short)
    return path if clean == text else clean.encode()


def _overrides(path: Path) -> bytes:
    """What was typed, but for what is of the machine and the account."""
    import yaml

    with suppress(yaml.YAMLError, ValueError):
        typed = yaml.safe_load(path.read_text(encoding="utf-8"))
        kept = [str(each) for each in typed or () if not str(each).startswith(LEFT_OUT_OVERRIDES)]
        return yaml.safe_dump(_shortened(without_secrets(kept)), allow_unicode=True).encode()
    return b"[]\n"


def _shortened(value: Any) -> Any:
    """The value with the folders of absolute paths left out."""
    if isinstance(value, Mapping):
        return {name: _shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return _short(value) if isinstance(value, str) else value


def _short(text: str) -> str:
    return PATH.sub(SHORT, text)


# ---- artifacts -------------------------------------------------------------------------------------------------------


def _add_artifacts(found: Contents, run: RunFolder, choice: _Choice) -> tuple[list[str], int]:
    """Add the manifests of a run's artifacts and of what these are made from; returns damage, and how many are gone."""
    waiting = [key for roles in run.provenance.values() for key in roles.values()]
    seen: set[str] = set()
    damaged: list[str] = []
    gone = 0
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        try:
            folder = _folder(run.stores(choice.store), key)
            if folder is None:
                gone += 1
                continue
            manifest = Manifest.read(folder)
            _add_artifact(found, folder, manifest, choice.artifacts)
            waiting += manifest.parents.values()
        except Damaged as damage:
            damaged.append(f"an artifact is damaged: {damage}")
    return damaged, gone


def _folder(stores: Sequence[Store], key: str) -> Path | None:
    folders = (folder for store in stores for folder in store.root.glob(f"*/{key}") if (folder / MANIFEST).exists())
    return next(folders, None)


def _add_artifact(found: Contents, folder: Path, manifest: Manifest, whole: bool) -> None:
    place = f"artifacts/{manifest.kind}/{manifest.key}"
    if whole:
        there = plain_files(folder)
        for name in manifest.files:
            if name not in there:
                raise Damaged(folder, name, "is missing")
        found.members |= {f"{place}/{name}": there[name] for name in manifest.files}
        found.manifests[manifest.key] = manifest
    found.members[f"{place}/{MANIFEST}"] = folder / MANIFEST


# ---- for people ------------------------------------------------------------------------------------------------------


def _has_paths(name: str, content: bytes | Path) -> bool:
    """Whether an absolute path is left in a text that describes a run."""
    if not name.endswith((".json", ".yaml")) or (name.startswith("artifacts/") and not name.endswith(f"/{MANIFEST}")):
        return False
    text = content.read_text(encoding="utf-8") if isinstance(content, Path) else content.decode()
    return PATH.search(text) is not None


def _readme(found: Contents, artifacts: bool) -> str:
    rows = "\n".join(f"| {number} | {run.title} | {run.status} |" for number, run in enumerate(found.runs))
    give = " ".join(dict.fromkeys(f"{name}=..." for run in found.runs for name in run.give))
    unpacked = "\nUnpacked, `artifacts` is a store.\n" if artifacts else ""
    return f"""# A bundle of modelcollapse

Settings, record, versions, code digests and recipes of {len(found.runs)} chain(s) of models that were trained on what
other models generated. Who has modelcollapse runs them again, and sees what agrees:

    modelcollapse replay BUNDLE{f" {give}" if give else ""}

| run | what | status |
|---|---|---|
{rows}

`runs/<n>` is the record of a run, `artifacts/<kind>/<key>/manifest.json` the recipe, code, parents, checksums and
execution of each artifact, `manifest.json` the checksums of all members. Data are not contained: recipes hold their
fingerprints.
{unpacked}"""


def summary(found: Contents) -> Iterator[str]:
    """What people are told of a bundle, in lines."""
    for run in found.runs:
        yield from (f"not contained, {run.title}: {what}" for what in run.lacking)
    if give := dict.fromkeys(name for run in found.runs for name in run.give):
        yield (
            f"data are not contained; whoever replays it gives {' '.join(f'{name}=...' for name in give)}, whose"
            " fingerprints the recipes hold"
        )
    if found.paths:
        named = sorted(found.paths)
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        yield f"absolute paths remain in {', '.join(named[:MOST_NAMED])}{more}"
