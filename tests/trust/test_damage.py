"""Damage to any file of a store, in chains of every family: found when it is read, named, made again or refused."""

import os
import shutil

import pytest
from tiny_chains import CHAINS, recorded

from conftest import run_command
from modelcollapse.commands.store import main
from modelcollapse.families.language_model import generating


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path):
    """Another generation's file in its place, or where there is no other, a file of another artifact."""
    others = [*path.parents[1].glob(f"*/{path.name}"), *path.parents[2].glob("[!d]*/*/[!m]*")]
    different = [other for other in others if other.is_file() and other.read_bytes() != path.read_bytes()]
    shutil.copy(different[0], path)


DAMAGES = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "flipped": flip,
    "emptied": lambda path: os.truncate(path, 0),
    "removed": lambda path: path.unlink(),
    "swapped": swap,
}


def artifacts(store):
    """The files of every artifact, one list an artifact, the manifest last; empty files can only be removed."""
    folders = sorted(path.parent for path in store.glob("*/*/manifest.json") if path.parents[2] == store)
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
        yield sorted(files, key=lambda path: path.name == "manifest.json")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a family's chain: (what it left, its record)."""
    places = tmp_path_factory.mktemp("runs")
    numbers = iter(range(1000))

    def run_one(family, store, *more):
        folder = places / f"run-{next(numbers)}"
        overrides = [*CHAINS[family], f"paths.store={store}", f"hydra.run.dir={folder}", *more]
        return run_command(overrides, places, folder)

    return run_one


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    """Family -> (its store, its record), run once."""
    found = {}

    def get(family):
        if family not in found:
            store = tmp_path_factory.mktemp("undisturbed") / "store"
            finished = run(family, store)
            assert finished.code == 0, finished.err
            found[family] = store, recorded(finished.folder)
        return found[family]

    return get


def damage_all(store, damage, number):
    """Damage the file of that number of every artifact; which files, as they are named."""
    chosen = [files[number % len(files)] for files in artifacts(store)]
    for path in chosen:
        DAMAGES[damage](path)
    return chosen


def check_recomputed(run, undisturbed, tmp_path, family, damage, number):
    original, record = undisturbed(family)
    store = tmp_path / f"{damage}-{number}"
    shutil.copytree(original, store)
    chosen = damage_all(store, damage, number)
    again = run(family, store)
    assert again.code == 0, again.err
    for path in chosen:
        assert f"damaged: {path} " in again.out
    assert recorded(again.folder) == record
    assert main(["verify", "--store", str(store)]) == 0
    assert len(list(store.glob("damaged/*/*"))) == len(chosen)


ROTATION = [
    (family, damage, number)
    for place, family in enumerate(CHAINS)
    for number, damage in enumerate(DAMAGES)
    if (number - place) % len(DAMAGES) == 0
]
"""A kind of damage for each family; the slow test has all."""


@pytest.mark.parametrize(("family", "damage", "number"), ROTATION)
def test_damaged_artifacts_are_named_and_made_again_to_the_bit(run, undisturbed, tmp_path, family, damage, number):
    """Every artifact of the chain is damaged at once, each kind of damage in another of its files."""
    check_recomputed(run, undisturbed, tmp_path, family, damage, number)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("family", CHAINS)
def test_damage_to_every_file_of_every_artifact(run, undisturbed, tmp_path, family, damage):
    files = max(map(len, artifacts(undisturbed(family)[0])))
    for number in range(files):
        check_recomputed(run, undisturbed, tmp_path, family, damage, number)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("family", ["language_model", "gaussian_mixture"])
def test_where_damage_is_to_stop_a_run_it_is_named_and_nothing_is_touched(run, undisturbed, tmp_path, family, damage):
    store = tmp_path / "store"
    shutil.copytree(undisturbed(family)[0], store)
    chosen = damage_all(store, damage, 0)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file() and "runs" not in path.parts}
    stopped = run(family, store, "store.on_damage=stop")
    assert stopped.code == 2
    assert "Traceback" not in stopped.err
    assert any(f"{path} " in stopped.err for path in chosen)
    assert "store.on_damage=recompute" in stopped.err
    after = {path: path.read_bytes() for path in store.rglob("*") if path.is_file() and "runs" not in path.parts}
    assert after == before


# ---- progress -------------------------------------------------------------------------------------------------


class Interruption(BaseException):
    """Like a signal: not an Exception."""


WRITING = (*CHAINS["language_model"], "generations=0", "decoding=sample", "decoding.batch_size=20")


@pytest.fixture
def begun(chain, monkeypatch, tmp_path):
    """A chain that was stopped after two of its three shards: its store, and the paths of the shards."""

    def begin(*more, store=tmp_path / "store"):
        write = generating.Shards.write

        def interrupted_write(self, group, tokens):
            if group == 2:
                raise Interruption
            write(self, group, tokens)

        with monkeypatch.context() as patched:
            patched.setattr(generating.Shards, "write", interrupted_write)
            with pytest.raises(Interruption):
                chain(*WRITING, *more, store=store)
        return store, sorted(store.glob("progress/*/files/shard-*"))

    return begin


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_written_again(chain, begun, tmp_path, capfd, damage):
    expected = chain(*WRITING, store=tmp_path / "whole")
    store, shards = begun()
    assert len(shards) == 2
    if damage == "swapped":
        _, (other, _) = begun("seed=1", store=tmp_path / "other")
        shutil.copy(other, shards[0])
    else:
        DAMAGES[damage](shards[0])
    again = chain(*WRITING, store=store)
    assert again.bytes() == expected.bytes()
    assert again.bytes("samples.jsonl") == expected.bytes("samples.jsonl")
    assert (f"damaged: {shards[0]} " in capfd.readouterr().err) is (damage != "removed")


def test_shards_of_another_batch_size_are_not_mixed_with_these(chain, begun, tmp_path):
    """``decoding.batch_size`` is in no key: a set that was begun with another one must not be finished with this."""
    expected = chain(*WRITING, "decoding.batch_size=32", store=tmp_path / "whole")
    store, _ = begun()
    again = chain(*WRITING, "decoding.batch_size=32", store=store)
    assert again.bytes() == expected.bytes()
