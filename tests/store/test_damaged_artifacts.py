"""Damage to a finished artifact: found when it is read, named, moved aside and made again, or refused."""

import json
import os
import shutil
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_artifacts import answer, artifact, litter, note, obtain_plain, remove

from modelcollapse.store import Damaged, Store, canonical_json, verify


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forge(path, **changes):
    """Alter a manifest and renew its checksum, as no accident would."""
    fields = json.loads(path.read_text()) | changes
    del fields["checksum"]
    checksum = subprocess.run(
        ["sha256sum"], input=canonical_json(fields).encode(), capture_output=True, check=True, text=False
    )
    path.write_text(json.dumps({**fields, "checksum": checksum.stdout.decode().split()[0]}))


damages = {
    "truncated": ("weights", lambda folder, other: os.truncate(folder / "weights", 3)),
    "grown": ("weights", lambda folder, other: note(folder / "weights", "more")),
    "flipped": ("weights", lambda folder, other: flip(folder / "weights")),
    "flipped below": (
        "nested/settings.json",
        lambda folder, other: flip(folder / "nested" / "settings.json"),
    ),
    "emptied": ("weights", lambda folder, other: os.truncate(folder / "weights", 0)),
    "removed": ("weights", lambda folder, other: (folder / "weights").unlink()),
    "added": ("nested/more", lambda folder, other: (folder / "nested" / "more").touch()),
    "linked": ("weights", lambda folder, other: link(folder / "weights", other / "weights")),
    "swapped": ("weights", lambda folder, other: shutil.copy(other / "weights", folder / "weights")),
    "whole swapped": ("manifest.json", lambda folder, other: (shutil.rmtree(folder), other.rename(folder))),
    "manifest swapped": ("manifest.json", lambda folder, other: shutil.copy(other / "manifest.json", folder)),
    "manifest removed": ("manifest.json", lambda folder, other: (folder / "manifest.json").unlink()),
    "manifest a pipe": ("manifest.json", lambda folder, other: pipe(folder / "manifest.json")),
    "manifest a folder": ("manifest.json", lambda folder, other: fold(folder / "manifest.json")),
    "manifest emptied": ("manifest.json", lambda folder, other: os.truncate(folder / "manifest.json", 0)),
    "manifest flipped": ("manifest.json", lambda folder, other: flip(folder / "manifest.json")),
    "manifest a list": ("manifest.json", lambda folder, other: (folder / "manifest.json").write_text("[]")),
    "manifest infinite": (
        "manifest.json",
        lambda f, o: (f / "manifest.json").write_text('{"checksum": 1, "a": 1e999}'),
    ),
    "manifest of another recipe": (
        "manifest.json",
        lambda f, o: forge(f / "manifest.json", recipe={"name": "x"}),
    ),
    "manifest of other parents": ("manifest.json", lambda f, o: forge(f / "manifest.json", parents={})),
    "manifest of another format": ("manifest.json", lambda f, o: forge(f / "manifest.json", format=0)),
    "manifest with a stranger": ("manifest.json", lambda f, o: forge(f / "manifest.json", stranger=1)),
    "not a folder": ("manifest.json", lambda folder, other: (shutil.rmtree(folder), folder.touch())),
}


def link(path, target):
    path.unlink()
    path.symlink_to(target)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def fold(path):
    path.unlink()
    path.mkdir()


@pytest.fixture
def damaged(tmp_path, request):
    """A store with a damaged artifact, the name of the damaged file, and the artifact."""
    name, damage = damages[request.param]
    store, model = Store(tmp_path), artifact("model", artifact("parent"))
    folder = store.obtain(model)
    # Of the same size, so that only the checksum can tell.
    damage(folder, store.obtain(artifact("ledom", artifact("parent"))))
    return tmp_path, name, model


@pytest.mark.parametrize("damaged", damages, indirect=True)
def test_damaged_artifact_is_moved_aside_and_made_again(damaged):
    root, name, model = damaged
    announced = []
    store = Store(root, announce=announced.append)
    folder = store.obtain(model)
    assert folder.joinpath("weights").read_text() == "model(parent())"
    verify(folder)
    aside = root / "damaged" / "model" / f"{model.key}.1"
    assert os.path.lexists(aside)
    assert len(announced) == 1
    assert str(store.folder(model) / name) in announced[0]
    assert str(aside) in announced[0]
    assert litter(root) == []


@pytest.mark.parametrize("damaged", damages, indirect=True)
def test_damaged_artifact_stops_the_run_if_so_asked(damaged):
    root, name, model = damaged
    before = sorted(root.glob("model/**/*"))
    with pytest.raises(Damaged, match=r"store\.on_damage=recompute") as stop:
        Store(root, on_damage="stop").obtain(model)
    assert (stop.value.folder, stop.value.name) == (root / "model" / model.key, name)
    assert sorted(root.glob("model/**/*")) == before
    assert not root.joinpath("damaged").exists()


def obtain_or_stop(root, name):
    Store(root, on_damage="stop").obtain(artifact(name))


def test_damage_found_by_another_process_can_be_handed_over(tmp_path):
    flip(Store(tmp_path).obtain(artifact("model")) / "weights")
    with pytest.raises(Damaged, match=r"weights was altered.*store\.on_damage=recompute"):
        answer(obtain_or_stop, tmp_path, "model")


def test_damaged_parent_is_made_again_before_it_is_used(tmp_path):
    parent = artifact("parent")
    flip(Store(tmp_path).obtain(parent) / "weights")
    store = Store(tmp_path, announce=lambda message: None)
    assert store.obtain(artifact("child", parent)).joinpath("weights").read_text() == "child(parent())"
    flip(store.folder(parent) / "weights")
    again = Store(tmp_path, announce=lambda message: None)
    again.obtain(parent)
    assert len(list(tmp_path.glob("damaged/model/*"))) == 2


def test_artifact_made_anew_by_another_process_is_verified_anew(tmp_path):
    store, model = Store(tmp_path, announce=lambda message: None), artifact("model")
    store.obtain(model)
    assert answer(remove, tmp_path, "model")
    answer(obtain_plain, tmp_path, "model")
    flip(store.folder(model) / "weights")
    assert store.obtain(model).joinpath("weights").read_text() == "model()"


def test_damaged_manifest_does_not_hide_the_other_artifacts(tmp_path):
    announced = []
    store = Store(tmp_path, announce=announced.append)
    flip(store.obtain(artifact("a")) / "manifest.json")
    store.obtain(artifact("b"))
    assert [manifest.key for manifest in store.artifacts()] == [artifact("b").key]
    assert "passed over" in announced[0]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store")).obtain(artifact("model", artifact("parent")))


@given(st.data())
def test_no_flipped_bit_goes_unnoticed(sound, data):
    manifest = verify(sound)
    path = sound / data.draw(st.sampled_from([*manifest.files, "manifest.json"]))
    content = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        path.write_bytes(flipped)
        # Some flips in JSON change nothing that it says: the exponent 1e-05 is 1E-05 too.
        with suppress(Damaged):
            assert verify(sound) == manifest
            assert path.name == "manifest.json"
    finally:
        path.write_bytes(content)
