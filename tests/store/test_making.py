"""Artifacts are planned, made once, parents first, described in their manifests, and found again."""

import os
import subprocess
import sys
from datetime import datetime

import pytest
from store_artifacts import artifact, build_weights, litter, noted

from modelcollapse.store import Store, verify


def test_obtain_makes_what_is_missing_parents_first_and_once(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    data = artifact("data", log=log, kind="data")
    first = artifact("first", data, log=log)
    second = artifact("second", first, data, log=log)
    assert not store.root.exists()
    assert store.missing([second]) == [data, first, second]
    assert store.obtain(second).joinpath("weights").read_text() == "second(first(data()),data())"
    assert store.obtain(second) == store.obtain(second) == store.root / "model" / second.key
    assert Store(store.root).obtain(first).joinpath("weights").read_text() == "first(data())"
    assert noted(log) == ["data", "first", "second"]
    assert litter(store.root) == []


def test_nothing_is_needed_for_what_is_published(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    parent = artifact("parent", log=log)
    child, sibling = artifact("child", parent, log=log), artifact("sibling", parent, log=log)
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
    chain = [artifact("0")]
    for generation in range(1, 3000):
        chain.append(artifact(str(generation), chain[-1]))
    assert Store(tmp_path).missing([chain[-1], chain[5]]) == chain


def test_parent_removed_before_it_is_used_is_made_again(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    first = artifact("first", log=log)

    def remove_first(context):
        if noted(log).count("second") == 1:
            assert store.remove(first)
        build_weights(context)

    child = artifact("child", first, artifact("second", log=log, build=remove_first), log=log)
    assert store.obtain(child).joinpath("weights").read_text() == "child(first(),second())"
    assert noted(log) == ["first", "second", "first", "child"]


def test_manifest_holds_recipe_parents_and_execution(tmp_path):
    def build(context):
        context.execution["device"] = {"name": "cpu", "threads": 1}
        build_weights(context)

    store, parent = Store(tmp_path), artifact("parent")
    model = artifact("model", parent, build=build)
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
        store.manifest(artifact("absent"))


def test_files_of_an_artifact_have_the_permissions_of_the_umask(tmp_path):
    def build(context):
        build_weights(context)
        (context.folder / "weights").chmod(0o600)

    before = os.umask(0o027)
    try:
        folder = Store(tmp_path).obtain(artifact("model", build=build))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o640}


def test_artifacts_are_listed_and_found_by_the_beginning_of_their_key(tmp_path):
    store = Store(tmp_path)
    artifacts = [artifact(str(number), kind=kind) for number in range(9) for kind in ("model", "score")]
    for each in artifacts:
        store.obtain(each)
    assert {manifest.key for manifest in store.artifacts()} == {each.key for each in artifacts}
    folder, manifest = store.find(artifacts[4].key[:20])
    assert (folder, manifest) == (store.folder(artifacts[4]), store.manifest(artifacts[4]))
    with pytest.raises(LookupError, match="begins with 'x'"):
        store.find("x")
    with pytest.raises(LookupError, match="18 artifacts") as ambiguous:
        store.find("")
    assert all(f"{each.kind} {each.key}" in str(ambiguous.value) for each in artifacts)


def test_store_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'pandas', 'transformers', 'pytorch_lightning', 'datasets', 'wandb'}"
    check = f"import sys, modelcollapse.store; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
