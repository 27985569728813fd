"""Writes models and synthetic sets out of the store: ``modelcollapse export RUN GENERATION FOLDER``.

What others read is made of them: of a language model a Hugging Face folder, of its synthetic set a Parquet file, of a
VAE and of fitted distributions safetensors; with a README that says where it comes from and how it is read.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modelcollapse.command_line import program
from modelcollapse.commands.exit_codes import DONE, reported
from modelcollapse.errors import UserError, spoken
from modelcollapse.populations.members import member_role
from modelcollapse.record.run_folder import TIMINGS_FILE, RunFolder
from modelcollapse.store import Damaged, Manifest, Store
from modelcollapse.store.files import (
    IrregularFileError,
    delete_abandoned,
    make_folder,
    naming_full_disk,
    plain_files,
    sync_below,
    temporary_beside,
)

MODEL, SYNTHETIC = "model", "synthetic"
README = "README.md"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Exported:
    """What was written."""

    manifest: Manifest
    """The artifact's."""
    folder: Path


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(
        prog=shlex.join(program()),
        description="Write the model, or the synthetic set, of a generation of a run as others read it.",
        epilog="Artifacts of no generation, such as a base, go by their key: modelcollapse store export KEY FOLDER.",
    )
    found.add_argument("run", metavar="RUN", type=Path, help="run folder")
    found.add_argument("generation", metavar="GENERATION", type=int, help="its number; 0 was trained on real data")
    found.add_argument("folder", metavar="FOLDER", type=Path, help="folder to make; it must not exist, or be empty")
    found.add_argument("--synthetic", action="store_true", help="the synthetic set instead of the model")
    found.add_argument("--member", metavar="NUMBER", type=int, default=0, help="of a population; 0 is the first")
    found.add_argument("--store", metavar="PATH", type=Path, help="the store (default: the run's)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    chosen = parser().parse_args(arguments)
    return reported(partial(_main, chosen))


def _main(chosen: argparse.Namespace) -> int:
    role = member_role(chosen.member, SYNTHETIC if chosen.synthetic else MODEL)
    print_exported(export_generation(chosen.run, chosen.generation, chosen.folder, role=role, store=chosen.store))
    return DONE


def print_exported(exported: Exported) -> None:
    """Say what was written where."""
    manifest = exported.manifest
    print(f"{manifest.label} ({manifest.kind} {manifest.key}) is in {exported.folder}")


def export_generation(
    run: Path, generation: int, folder: Path, *, role: str = MODEL, store: Path | None = None
) -> Exported:
    """Write what a generation of a run has as ``model`` or ``synthetic`` to ``folder``.

    Args:
        run: the run folder.
        generation: its number.
        folder: appears whole or not at all; must not exist, or be empty.
        role: ``model``, ``synthetic``, or another role that ``provenance.jsonl`` names.
        store: where the run's artifacts are, where that is not the store that it was run with.

    Raises:
        UserError: the run has no such generation or role, the artifact is gone, the folder is in use.
        Damaged: the artifact is not what was published.
        OSError: something cannot be read or written.
    """
    record = RunFolder.open(run.expanduser())
    key = _key(record, generation, role)
    for place in record.stores(store):
        if _holds(place, key):
            return export_artifact(place, key, folder, generation)
    raise UserError(_gone(record, generation, role, key, store))


def export_artifact(store: Store, key: str, folder: Path, generation: int | None = None) -> Exported:
    """Write the artifact whose key begins with ``key`` to ``folder``, which appears whole or not at all.

    Every byte that is read is checked against the manifest; links are not followed.

    Raises:
        UserError: the key names no artifact, or several; the folder is in use.
        Damaged: an artifact of the store is not what was published.
        OSError: something cannot be read or written.
    """
    from modelcollapse.families.exporting import Export, exporter_of

    source, manifest = _find(store, key)
    target = _free(folder.expanduser())
    make_folder(target.parent)
    delete_abandoned(target.parent, target.name)
    staged = temporary_beside(target)
    try:
        staged.mkdir()
        with naming_full_disk(staged):
            copy_verified(source, manifest, staged)
            usage = exporter_of(manifest)(Export(manifest, generation, staged, partial(_ancestor, store, manifest)))
            (staged / README).write_text(readme(manifest, usage), encoding="utf-8")
        sync_below(staged)
        staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Exported(manifest, folder)


def copy_verified(source: Path, manifest: Manifest, target: Path) -> None:
    """Copy the files of an artifact, each checked as it is read.

    Raises Damaged where one is missing, altered, or no plain file.
    """
    try:
        there = plain_files(source)
    except IrregularFileError as error:
        raise Damaged(source, error.name, "is neither a file nor a folder") from error
    for name, record in manifest.files.items():
        if name not in there:
            raise Damaged(source, name, "is missing")
        copied = target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if _copy(there[name], copied) != record.sha256:
            raise Damaged(source, name, "was altered: it does not match its checksum")


def _copy(source: Path, target: Path) -> str:
    """Copy a file that is no link; returns the SHA-256 of what was written."""
    digest = hashlib.sha256()
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as read, target.open("xb") as written:
        while chunk := read.read(CHUNK_BYTES):
            digest.update(chunk)
            written.write(chunk)
    return digest.hexdigest()


def _key(record: RunFolder, generation: int, role: str) -> str:
    numbers = sorted(record.provenance)
    if generation not in record.provenance:
        there = f"it has finished {numbers[0]} to {numbers[-1]}" if numbers else "it has finished none"
        raise UserError(f"{record.path}: there is no generation {generation}; {there}")
    roles = record.provenance[generation]
    if role in roles:
        return roles[role]
    if role == SYNTHETIC and MODEL in roles:
        raise UserError(
            f"{record.path}: generation {generation} stores no synthetic set: it is drawn from the model again where it"
            " is needed. Export the model"
        )
    raise UserError(f"{record.path}: generation {generation} has no {role}; it has {', '.join(sorted(roles))}")


def _holds(store: Store, key: str) -> bool:
    return any(folder.name == key for folder in store.layout.published())


def _gone(record: RunFolder, generation: int, role: str, key: str, given: Path | None) -> str:
    """The message for an artifact that is in none of the run's stores."""
    places = ", ".join(str(store.root) for store in record.stores(given))
    message = f"{record.path}: the {role} of generation {generation}, {key}, is not in {places}"
    if not any(store.root.is_dir() for store in record.stores(given)):
        return f"{message}: there is no store; name it with --store PATH"
    seconds = [line["seconds"] for line in record.lines(TIMINGS_FILE) if line.get("key") == key]
    cost = f", which took {spoken(seconds[0])}" if seconds else ""
    kept = dict(record.config.get("store") or {}).get("keep")
    reason = " store.keep=ends kept those of the first and the last generation only;" if kept == "ends" else ""
    return f"{message};{reason} the run's command with store.keep=all makes it again{cost}. Another store: --store PATH"


def _find(store: Store, key: str) -> tuple[Path, Manifest]:
    if not store.root.is_dir():
        raise UserError(f"{store.root}: there is no store; name one with --store PATH, or set MODELCOLLAPSE_STORE")
    try:
        return store.find(key)
    except LookupError as error:
        raise UserError(str(error)) from error


def _ancestor(store: Store, manifest: Manifest, kind: str) -> Path | None:
    """Folder of the nearest artifact of a kind that this one is made from, verified; None where it is gone."""
    from modelcollapse.store.manifest import verify

    waiting, seen = list(manifest.parents.values()), set()
    while waiting:
        key = waiting.pop(0)
        for folder in store.root.glob(f"*/{key}") if key not in seen else ():
            if folder.parent.name == kind:
                verify(folder)
                return folder
            waiting += Manifest.read(folder).parents.values()
        seen.add(key)
    return None


def _free(folder: Path) -> Path:
    """The folder, absolute. Raises UserError where it is not free to be made."""
    if folder.is_symlink():
        raise UserError(f"{folder}: is a link; name a folder that does not exist yet")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(
            f"{folder}: is {'not empty' if folder.is_dir() else 'a file'}; name a folder that does not exist yet"
        )
    return folder.resolve()


# ---- the README ------------------------------------------------------------------------------------------------------


def readme(manifest: Manifest, usage: str) -> str:
    """The README.md of an exported folder: what it is, how it is read, what it was made from, how and with what."""
    facts = {
        "artifact": f"{manifest.kind} `{manifest.key}`",
        "what": manifest.label,
        "finished": manifest.created,
        "seconds of work": f"{manifest.seconds:.1f}",
        **manifest.execution,
    }
    reading = f"## Reading it\n\n{usage}\n" if usage else ""
    return f"""{_front_matter(manifest)}# {manifest.label}

From a chain of models trained on what other models generated, for the study of model collapse. Written by modelcollapse
from its store; for experiments, not for use.

{_table(("", ""), facts)}
{reading}## Made from

{_table(("role", "key of the artifact"), {role: f"`{key}`" for role, key in manifest.parents.items()})}
## Recipe

The key is a hash of this recipe and of the keys above.

```json
{json.dumps(manifest.recipe, indent=2, ensure_ascii=False)}
```

## Versions

{_table(("library", "version"), manifest.versions)}"""


def _front_matter(manifest: Manifest) -> str:
    """What the Hugging Face hub reads of a model card; nothing for what is no network of transformers."""
    if "config.json" not in manifest.files:
        return ""
    return "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [model-collapse]\n---\n\n"


def _table(heading: tuple[str, str], rows: Mapping[str, Any]) -> str:
    lines = [
        f"| {heading[0]} | {heading[1]} |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]
    return "\n".join(lines) + "\n"
