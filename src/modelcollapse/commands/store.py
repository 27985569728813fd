"""Looks at a store and cleans it: ``modelcollapse store verify | list | tree | gc | export``."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from modelcollapse.command_line import program
from modelcollapse.commands.exit_codes import DONE, FOUND, complain, reported
from modelcollapse.errors import UserError
from modelcollapse.store import Damaged, Store, locks
from modelcollapse.store.claims import is_store
from modelcollapse.store.collecting import Waste, collecting, listing, readable_bytes, referred, remove, tree, waste
from modelcollapse.store.manifest import damages
from modelcollapse.store.runs import Run, noted_runs, runs_below


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 1 where damage was found, 2 for what the user can mend."""
    chosen = parser().parse_args(arguments)
    return reported(lambda: _run(chosen))


def _run(chosen: argparse.Namespace) -> int:
    root = Path(chosen.store or default_store()).expanduser()
    if not root.is_dir():
        raise UserError(f"{root}: there is no store; name one with --store PATH, or set MODELCOLLAPSE_STORE")
    if not is_store(root) and any(root.iterdir()):
        raise UserError(f"{root}: is no store, and nothing in it is touched; name one with --store PATH")
    command: Callable[[Store, argparse.Namespace], int] = chosen.command
    try:
        return command(Store(root, announce=complain), chosen)
    except (LookupError, ValueError) as error:
        raise UserError(str(error)) from error


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog=shlex.join(program()), description="Look at a store and clean it.")
    parser.add_argument("--store", metavar="PATH", help="the store (default: that of conf/paths and the environment)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="read every file of every artifact and name what is damaged")
    verify.set_defaults(command=_verify)
    listed = commands.add_parser("list", help="artifacts by kind: size, date, seconds, and which runs refer to them")
    listed.set_defaults(command=_list)
    shown = commands.add_parser("tree", help="artifacts and what they were made from")
    shown.add_argument("key", metavar="KEY", nargs="?", help="one artifact only: its key, or how it begins")
    shown.set_defaults(command=_tree)
    collected = commands.add_parser("gc", help="remove what no run refers to; without --yes, only list it")
    effect = collected.add_mutually_exclusive_group()
    effect.add_argument("--dry-run", action="store_true", help="say what would be removed (the default)")
    effect.add_argument("--yes", action="store_true", help="remove it")
    collected.add_argument(
        "--runs", metavar="FOLDER", type=Path, action="append", default=[], help="keep what runs below FOLDER refer to"
    )
    collected.add_argument(
        "--including-referenced", action="store_true", help="remove what runs that have ended refer to as well"
    )
    collected.set_defaults(command=_collect)
    exported = commands.add_parser("export", help="write an artifact by its key; modelcollapse export takes a run")
    exported.add_argument("key", metavar="KEY", help="its key, or how it begins")
    exported.add_argument("folder", metavar="FOLDER", type=Path, help="folder to make; it must not exist, or be empty")
    exported.set_defaults(command=_export)
    for subparser in (verify, listed, shown, collected, exported):
        subparser.add_argument("--store", metavar="PATH", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def default_store() -> str:
    """The setting ``paths.store`` as it is when nothing is typed."""
    from omegaconf import OmegaConf

    from modelcollapse.config.extensions import configuration_folder

    return str(OmegaConf.load(configuration_folder() / "paths" / "default.yaml").store)


def _verify(store: Store, chosen: argparse.Namespace) -> int:
    checked = busy = found = 0
    for place in store.layout.places():
        with _reading(store, place.name) as free:
            busy += not free
            findings = list(damages(place)) if free and os.path.lexists(place) else []
        checked += free
        found += bool(findings)
        for damage in findings:
            print(f"damaged: {damage}", flush=True)
    found += _verify_notes(store)
    aside = sum(1 for _ in store.layout.set_aside())
    print(
        f"{checked} {'artifact' if checked == 1 else 'artifacts'} checked, {found or 'none'} damaged"
        + (f"; {busy} passed over, being made or removed now" if busy else "")
        + (f"; {aside} moved aside earlier, in {store.root / 'damaged'}" if aside else "")
    )
    return FOUND if found else DONE


def _reading(store: Store, key: str) -> AbstractContextManager[bool]:
    """Keep others from removing the artifact while it is checked, where the store can be written to."""
    lock = store.layout.lock_of(key)
    return locks.shared_if_free(lock) if lock.exists() or os.access(lock.parent, os.W_OK) else nullcontext(True)


def _verify_notes(store: Store) -> int:
    try:
        list(noted_runs(store.layout))
    except Damaged as damage:
        print(f"damaged: {damage}")
        return 1
    return 0


def _list(store: Store, chosen: argparse.Namespace) -> int:
    manifests = list(store.artifacts())
    for line in listing(manifests, [run for _, run in noted_runs(store.layout) if run.refers]):
        print(line)
    if not manifests:
        print(f"nothing is finished in {store.root}")
    return DONE


def _tree(store: Store, chosen: argparse.Namespace) -> int:
    if chosen.key is not None:
        store.find(chosen.key)
    for line in tree(list(store.artifacts()), chosen.key):
        print(line)
    return DONE


def _export(store: Store, chosen: argparse.Namespace) -> int:
    from modelcollapse.commands.export import export_artifact, print_exported

    print_exported(export_artifact(store, chosen.key, chosen.folder))
    return DONE


def _collect(store: Store, chosen: argparse.Namespace) -> int:
    if not chosen.yes:
        return _preview(store, chosen)
    with collecting(store.layout, lambda holder: complain(f"waiting: {holder}")):
        removed = kept = 0
        for item in list(_waste(store, chosen)):
            if remove(store.layout, item):
                removed += item.bytes
                print(f"removed {item.what}, {readable_bytes(item.bytes)}", flush=True)
            else:
                kept += 1
                print(f"in use, kept: {item.what}", flush=True)
    print(f"{readable_bytes(removed)} freed" + (f"; {kept} in use" if kept else ""))
    return DONE


def _preview(store: Store, chosen: argparse.Namespace) -> int:
    items = list(_waste(store, chosen))
    for item in items:
        print(f"{readable_bytes(item.bytes):>9}  {item.what}")
    runs = list(_runs(store, chosen))
    for run in runs:
        if run.is_elsewhere:
            print(f"kept: what {run.folder} on {run.host} refers to, which cannot be seen from here")
    total = readable_bytes(sum(item.bytes for item in items))
    print(f"runs that refer to artifacts of this store: {sum(run.refers for run in runs)} (more: --runs FOLDER)")
    print(f"would be removed: {len(items)}, {total}" + (". To remove: gc --yes" if items else ""))
    return DONE


def _waste(store: Store, chosen: argparse.Namespace) -> Iterator[Waste]:
    runs = _runs(store, chosen)
    # What a run at work refers to stays in any case: it would be computed again, or missing where it is read.
    kept = referred(store.layout, (run for run in runs if run.is_at_work or not chosen.including_referenced))
    return waste(store.layout, kept)


def _runs(store: Store, chosen: argparse.Namespace) -> Iterator[Run]:
    yield from (run for _, run in noted_runs(store.layout))
    for folder in chosen.runs:
        if not folder.is_dir():
            raise ValueError(f"--runs {folder}: there is no such folder")
        yield from runs_below(folder)
