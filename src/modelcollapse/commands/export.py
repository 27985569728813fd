"""Writes finished weights as a Hugging Face folder: ``python -m modelcollapse export KEY FOLDER``.

The folder holds what ``AutoModelForCausalLM.from_pretrained`` and ``AutoTokenizer.from_pretrained`` load, and a model
card with the origin of the weights.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelcollapse.command_line import program
from modelcollapse.errors import UserError
from modelcollapse.store import Damaged, Manifest, Store
from modelcollapse.store.files import delete_abandoned, make_folder, sha256_of_file, sync_below, temporary_beside

NETWORK_CONFIG, TRAINING_FILE = "config.json", "training.jsonl"
USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, or 2 for what the user can mend."""
    parser = argparse.ArgumentParser(prog=shlex.join(program()), description="Write weights out of the store.")
    parser.add_argument(
        "key", metavar="KEY", help="key of the artifact, or how it begins (provenance.jsonl, plan=true)"
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder to make; it must not exist, or be empty")
    default_store = os.environ.get("MODELCOLLAPSE_STORE", "store")
    parser.add_argument("--store", type=Path, default=Path(default_store), help=f"the store (here: {default_store})")
    chosen = parser.parse_args(arguments)
    try:
        manifest = export(Store(chosen.store.expanduser()), chosen.key, chosen.folder.expanduser())
    except (UserError, Damaged) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        print(f"error: {error.filename or chosen.folder}: {error.strerror}", file=sys.stderr)
        return USER_ERROR
    print(f"{manifest.label} ({manifest.kind} {manifest.key}) is in {chosen.folder}")
    return 0


def export(store: Store, key: str, folder: Path) -> Manifest:
    """Write the artifact whose key begins with ``key`` to ``folder``, which appears whole or not at all.

    Every byte is checked against the artifact's manifest after it was copied.

    Raises:
        UserError: the key names no weights, or several artifacts; the folder is in use.
        Damaged: an artifact of the store is not what was published.
        OSError: something cannot be read or written.
    """
    source, manifest = _find(store, key)
    _refuse_used(folder)
    make_folder(folder.resolve().parent)
    delete_abandoned(folder.resolve().parent, folder.resolve().name)
    staged = temporary_beside(folder.resolve())
    try:
        staged.mkdir()
        _copy(source, manifest, staged)
        (staged / "README.md").write_text(model_card(manifest), encoding="utf-8")
        sync_below(staged)
        staged.rename(folder.resolve())
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return manifest


def model_card(manifest: Manifest) -> str:
    """The README.md of an exported folder: what the weights are, what they were made from, how and with what."""
    facts = {
        "artifact": f"{manifest.kind} `{manifest.key}`",
        "what": manifest.label,
        "finished": manifest.created,
        "seconds of work": f"{manifest.seconds:.1f}",
        **manifest.execution,
    }
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [model-collapse]
---

# {manifest.label}

One generation, or the start, of a chain of language models trained on what other models wrote, for the study of model
collapse. Written by modelcollapse from its store; a model for experiments, not for use.

{_table(("", ""), facts)}
## Made from

{_table(("role", "key of the artifact"), {role: f"`{key}`" for role, key in manifest.parents.items()})}
## Recipe

The key is a hash of this recipe and of the keys above.

```json
{json.dumps(manifest.recipe, indent=2, ensure_ascii=False)}
```

## Versions

{_table(("library", "version"), manifest.versions)}"""


def _table(heading: tuple[str, str], rows: Mapping[str, Any]) -> str:
    lines = [
        f"| {heading[0]} | {heading[1]} |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]
    return "\n".join(lines) + "\n"


def _find(store: Store, key: str) -> tuple[Path, Manifest]:
    if not store.root.is_dir():
        raise UserError(f"{store.root}: there is no store; name one with --store PATH, or set MODELCOLLAPSE_STORE")
    try:
        source, manifest = store.find(key)
    except LookupError as error:
        raise UserError(_removed(store, key) or str(error)) from error
    if NETWORK_CONFIG not in manifest.files:
        raise UserError(
            f"{manifest.kind} {manifest.key} ({manifest.label}) holds no weights of a language model. A run's"
            " provenance.jsonl lists its artifacts; those of the roles model, base and pretrained hold some"
        )
    return source, manifest


def _removed(store: Store, key: str) -> str | None:
    """The message for weights that are gone from the store while what was made with them is still there."""
    manifests = list(store.artifacts())
    if any(manifest.key.startswith(key) for manifest in manifests):
        return None
    users = {manifest.parents.get("model", ""): manifest.label for manifest in manifests}
    removed = [parent for parent in users if parent.startswith(key)]
    if len(removed) != 1:
        return None
    return (
        f"the weights {removed[0]} are no longer in {store.root} ({users[removed[0]]} used them). store.keep=ends keeps"
        " those of the first and the last generation only; to make the others again, type the chain's command with"
        " store.keep=all"
    )


def _refuse_used(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise UserError(
            f"{folder}: is {'not empty' if folder.is_dir() else 'a file'}; name a folder that does not exist yet"
        )


def _copy(source: Path, manifest: Manifest, target: Path) -> None:
    for name, record in manifest.files.items():
        if name == TRAINING_FILE:
            continue
        copied = target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source / name, copied)
        except FileNotFoundError:
            raise Damaged(source, name, "is missing") from None
        if sha256_of_file(copied) != record.sha256:
            raise Damaged(source, name, "was altered: it does not match its checksum")


if __name__ == "__main__":
    sys.exit(main())
