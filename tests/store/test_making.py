"""Pieces are planned, made once, parents first, described in their manifests, and found again."""

import os
import subprocess
import sys
from datetime import datetime

import pytest
from store_pieces import litter, make_weights, noted, piece

from modelcollapse.store import Store, verify


def test_obtain_makes_what_is_missing_parents_first_and_once(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    data = piece("data", log=log, kind="data")
    first = piece("first", data, log=log)
    second = piece("second", first, data, log=log)
    assert not store.root.exists()
    assert store.missing([second]) == [data, first, second]
    assert store.obtain(second).joinpath("weights").read_text() == "second(first(data()),data())"
    assert store.obtain(second) == store.obtain(second) == store.root / "model" / second.key
    assert Store(store.root).obtain(first).joinpath("weights").read_text() == "first(data())"
    assert noted(log) == ["data", "first", "second"]
    assert litter(store.root) == []


def test_nothing_is_needed_for_what_is_published(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    parent = piece("parent", log=log)
    child, sibling = piece("child", parent, log=log), piece("sibling", parent, log=log)
    store.obtain(child)
    assert store.remove(parent)
    assert not store.has(parent)
    assert store.missing([child]) == []
    store.obtain(child)
    assert noted(log) == ["parent", "child"]
    assert store.missing(iter([child, sibling, sibling])) == [parent, sibling]
    store.obtain(sibling)
    assert noted(log) == ["parent", "child", "parent", "sibling"]


def test_chains_longer_than_recursion_goes_deep_can_be_planned(tmp_path):
    chain = [piece("0")]
    for generation in range(1, 3000):
        chain.append(piece(str(generation), chain[-1]))
    assert Store(tmp_path).missing([chain[-1], chain[5]]) == chain


def test_parent_removed_before_it_is_used_is_made_again(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    first = piece("first", log=log)

    def remove_first(workshop):
        if noted(log).count("second") == 1:
            assert store.remove(first)
        make_weights(workshop)

    child = piece("child", first, piece("second", log=log, make=remove_first), log=log)
    assert store.obtain(child).joinpath("weights").read_text() == "child(first(),second())"
    assert noted(log) == ["first", "second", "first", "child"]


def test_manifest_tells_what_was_made_of_what_and_how(tmp_path):
    def make(workshop):
        workshop.execution["device"] = {"name": "cpu", "threads": 1}
        make_weights(workshop)

    store, parent = Store(tmp_path), piece("parent")
    model = piece("model", parent, make=make)
    folder = store.obtain(model)
    manifest = store.manifest(model)
    assert manifest == verify(folder)
    assert (manifest.kind, manifest.key, manifest.label) == ("model", model.key, "fit of model")
    assert (manifest.recipe, manifest.parents) == ({"name": "model"}, {"parent 0": parent.key})
    assert {name: record.bytes for name, record in manifest.files.items()} == {
        "nested/settings.json": 12,
        "weights": len("model(parent())"),
    }
    listed = subprocess.run(["sha256sum", folder / "weights"], capture_output=True, check=True, text=True)
    assert manifest.files["weights"].sha256 == listed.stdout.split()[0]
    assert manifest.execution == {"device": {"name": "cpu", "threads": 1}}
    assert manifest.versions["python"] == sys.version.split()[0]
    assert "modelcollapse" in manifest.versions
    assert 0 <= manifest.seconds < 10
    assert datetime.fromisoformat(manifest.created).utcoffset().total_seconds() == 0
    with pytest.raises(LookupError, match="absent"):
        store.manifest(piece("absent"))


def test_files_of_a_piece_may_be_read_by_whom_the_umask_says(tmp_path):
    def make(workshop):
        make_weights(workshop)
        (workshop.folder / "weights").chmod(0o600)

    before = os.umask(0o027)
    try:
        folder = Store(tmp_path).obtain(piece("model", make=make))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o640}


def test_pieces_are_listed_and_found_by_the_beginning_of_their_key(tmp_path):
    store = Store(tmp_path)
    pieces = [piece(str(number), kind=kind) for number in range(9) for kind in ("model", "score")]
    for each in pieces:
        store.obtain(each)
    assert {manifest.key for manifest in store.pieces()} == {each.key for each in pieces}
    folder, manifest = store.find(pieces[4].key[:20])
    assert (folder, manifest) == (store.folder(pieces[4]), store.manifest(pieces[4]))
    with pytest.raises(LookupError, match="begins with 'x'"):
        store.find("x")
    with pytest.raises(LookupError, match="18 pieces") as ambiguous:
        store.find("")
    assert all(f"{each.kind} {each.key}" in str(ambiguous.value) for each in pieces)


def test_store_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'pandas', 'transformers', 'pytorch_lightning', 'datasets', 'wandb'}"
    check = f"import sys, modelcollapse.store; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
