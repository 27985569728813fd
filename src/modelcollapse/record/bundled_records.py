"""The records of a bundle, written where they can be compared: checked, and under names that are known here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelcollapse.record.bundle import FORMAT, MANIFEST, BadBundle, Bundle, read_json
from modelcollapse.record.identity import IDENTITY_FILE
from modelcollapse.record.lines import number
from modelcollapse.record.run_folder import CONFIG_FILE, METRICS_FILE, TIMINGS_FILE
from modelcollapse.record.writing import GENERATION_KEYS, GENERATIONS_FILE
from modelcollapse.store import Damaged, Manifest
from modelcollapse.store.artifacts import KEY_PATTERN
from modelcollapse.store.runs import PROVENANCE_FILE

SOURCES_FILE = "sources.json"
STORE = "store"
"""Folder, beside the records, of the manifests."""


def write_records(bundle: Bundle, folder: Path) -> None:
    """Write the record of every run, as far as it is compared, to ``folder/<number>``, and manifests beside them.

    Raises:
        BadBundle: a record holds what no record holds.
        OSError: something cannot be written.
    """
    for run in range(len(bundle.runs)):
        _write_record(bundle, run, folder / str(run))
    for kind, key, content in bundle.manifests():
        _write_manifest(bundle, folder / STORE / kind / key, content)


def _write_record(bundle: Bundle, run: int, folder: Path) -> None:
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    for name, check in CHECKS.items():
        place = f"runs/{run}/{name}"
        if not bundle.has(place):
            (folder / name).unlink(missing_ok=True)
            continue
        content = bundle.read(place)
        if fault := _fault(bundle, place, content, check):
            raise BadBundle(bundle.path, f"{place}: {fault}")
        (folder / name).write_bytes(content)
    settings = yaml.safe_dump(bundle.settings(run), sort_keys=False, allow_unicode=True)
    (folder / CONFIG_FILE).write_text(settings, encoding="utf-8")


def _fault(bundle: Bundle, name: str, content: bytes, check: Callable[[Any], str | None]) -> str | None:
    if not name.endswith(".jsonl"):
        return check(read_json(bundle.path, name, content))
    lines = content.split(b"\n")
    if lines.pop():
        return "its last line has no end"
    values = [read_json(bundle.path, f"{name}, line {place},", line) for place, line in enumerate(lines, start=1)]
    if not all(isinstance(value, dict) for value in values):
        return "a line is no line of a record"
    return check(values)


def _write_manifest(bundle: Bundle, folder: Path, content: bytes) -> None:
    name = f"artifacts/{folder.parent.name}/{folder.name}/{MANIFEST}"
    if fault := _manifest_fault(read_json(bundle.path, name, content)):
        raise BadBundle(bundle.path, f"{name}: {fault}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_bytes(content)
    try:
        Manifest.read(folder)
    except Damaged as damage:
        raise BadBundle(bundle.path, f"{name} {damage.fault}") from damage


def _manifest_fault(fields: Any) -> str | None:
    """What is wrong with the types of a manifest's fields; Manifest.read checks the rest."""
    groups = {"recipe": None, "parents": str, "files": dict, "execution": None, "versions": str}
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        return "is no manifest of an artifact"
    for name, kind in groups.items():
        group = fields.get(name)
        if not isinstance(group, dict) or (kind and not all(isinstance(value, kind) for value in group.values())):
            return f"its {name} are not those of an artifact"
    if not all(KEY_PATTERN.fullmatch(key) for key in fields["parents"].values()):
        return "a parent is no key"
    return None if isinstance(fields.get("label"), str) else "its label is no text"


# ---- what records hold -----------------------------------------------------------------------------------------------


def _generations_fault(lines: list[dict[str, Any]]) -> str | None:
    if [line.get("generation") for line in lines] != list(range(len(lines))):
        return "its generations are not 0, 1, 2, ..., each once"
    for line in lines:
        for name, value in line.items():
            if name not in GENERATION_KEYS and not _is_number(value):
                return f"{name} of generation {line['generation']} is no number"
    return None


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value in ("Infinity", "-Infinity")
    return value is None or (
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(number(value))
    )


def _provenance_fault(lines: list[dict[str, Any]]) -> str | None:
    for place, line in enumerate(lines):
        keys = [value for name, value in line.items() if name != "generation"]
        if line.get("generation") != place or not all(_is_key(key) for key in keys):
            return f"line {place + 1} does not hold the keys of generation {place}"
    return None


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and KEY_PATTERN.fullmatch(value) is not None


def _timings_fault(lines: list[dict[str, Any]]) -> str | None:
    is_whole = all(isinstance(line.get("stage"), str) and _is_number(line.get("seconds", "")) for line in lines)
    return None if is_whole else "a line names no stage, or no seconds"


def _identity_fault(content: Any) -> str | None:
    if not isinstance(content, dict) or not _is_group(content.get("versions"), str):
        return "does not describe a run"
    members = content.get("extensions", [])
    is_whole = isinstance(members, list) and all(
        _is_group(each) and {"kind", "name"} <= each.keys() for each in members
    )
    return None if is_whole else "its extensions are not described"


def _metrics_fault(content: Any) -> str | None:
    for entry in content.values() if _is_group(content, dict) else [None]:
        if entry is None or not isinstance(entry.get("artifacts"), list):
            return "does not describe metrics"
        if not all(isinstance(role, str) for role in entry["artifacts"]):
            return "a metric is computed from what has no name"
    return None


def _sources_fault(content: Any) -> str | None:
    is_whole = _is_group(content) and _is_group(content.get("files"), str)
    return None if is_whole else "does not hold checksums of source files"


def _is_group(value: Any, kind: type | None = None) -> bool:
    return isinstance(value, Mapping) and (kind is None or all(isinstance(item, kind) for item in value.values()))


CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    IDENTITY_FILE: _identity_fault,
    GENERATIONS_FILE: _generations_fault,
    PROVENANCE_FILE: _provenance_fault,
    TIMINGS_FILE: _timings_fault,
    METRICS_FILE: _metrics_fault,
    SOURCES_FILE: _sources_fault,
}
"""Files of a record that are compared -> what finds a fault in their content."""
