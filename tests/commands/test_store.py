"""``modelcollapse store``: what it shows, what it removes, and what it never removes."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelcollapse.commands.store import main
from modelcollapse.store import Artifact, Store
from modelcollapse.store.collecting import tree

processes = multiprocessing.get_context("forkserver")


def build(context):
    (context.folder / "weights").write_text(context.artifact.recipe["name"] * 100)
    (context.folder / "settings.json").write_text("{}")


def artifact(name, *parents, build=build, kind="model"):
    roles = {f"parent {number}": parent for number, parent in enumerate(parents)}
    return Artifact(kind, {"name": name}, roles, build, f"fit of {name}")


def run_folder(folder, chain="abc", keys=()):
    """A run folder as a record leaves it."""
    folder.mkdir(parents=True)
    (folder / "chain.json").write_text(json.dumps({"id": chain}))
    (folder / "provenance.jsonl").write_text(
        "".join(json.dumps({"generation": 0, "model": key}) + "\n" for key in keys)
    )
    return folder


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def said(store, capsys):
    """Run the command on the store: (exit code, what it printed)."""

    def run(*words):
        code = main([*words, "--store", str(store.root)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


# ---- verify ---------------------------------------------------------------------------------------------------


def test_a_sound_store_is_sound(store, said):
    store.obtain(artifact("b", artifact("a")))
    assert said("verify") == (0, "2 artifacts checked, none damaged\n")


def test_every_damaged_file_is_named(store, said):
    first, second = store.obtain(artifact("a")), store.obtain(artifact("b"))
    store.obtain(artifact("c"))
    (first / "weights").write_text("b" * 100)
    (first / "settings.json").unlink()
    (second / "manifest.json").unlink()
    code, out = said("verify")
    assert code == 1
    assert f"{first / 'weights'} was altered" in out
    assert f"{first / 'settings.json'} is missing" in out
    assert f"{second / 'manifest.json'} is missing" in out
    assert "3 artifacts checked, 2 damaged" in out
    assert (first / "weights").read_text() == "b" * 100


def test_a_damaged_note_is_named_and_stops_a_collection(store, said, tmp_path):
    store.obtain(artifact("a"))
    store.note_run("abc", run_folder(tmp_path / "run"), [artifact("a")])
    (note,) = (store.root / "runs").iterdir()
    note.write_text(note.read_text().replace("abc", "abd"))
    code, out = said("verify")
    assert code == 1
    assert str(note) in out
    code, out = said("gc", "--yes")
    assert code == 2
    assert str(note) in out
    assert store.has(artifact("a"))


# ---- list and tree --------------------------------------------------------------------------------------------


def test_the_list_tells_kind_size_seconds_and_runs(store, said, tmp_path):
    store.obtain(artifact("b", artifact("a", kind="data")))
    store.note_run("abc", run_folder(tmp_path / "run"), [artifact("a", kind="data")])
    code, out = said("list")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "data: 1 artifact, 102 B"
    assert lines[1].split()[:3] == [artifact("a", kind="data").key[:12], "102", "B"]
    assert lines[1].endswith(f"fit of a  [{tmp_path / 'run'}]")
    assert lines[3].endswith("fit of b  [no run]")


def test_the_tree_shows_what_each_artifact_was_made_from_once(store, said):
    first = artifact("a")
    second = artifact("b", first)
    third = artifact("c", second, first)
    store.obtain(third)
    _, out = said("tree")
    keys = [each.key[:12] for each in (first, second, third)]
    assert out.splitlines() == [
        f"model {keys[2]} (fit of c)",
        f"  parent 0: model {keys[1]} (fit of b)",
        f"    parent 0: model {keys[0]} (fit of a)",
        f"  parent 1: model {keys[0]} (fit of a)",
    ]
    store.remove(first)
    _, out = said("tree", second.key[:8])
    assert out.splitlines() == [f"model {keys[1]} (fit of b)", f"  parent 0: {keys[0]} (no longer in the store)"]


def test_the_tree_of_a_chain_longer_than_recursion_goes_deep(store):
    store.obtain(artifact("0"))
    first = store.manifest(artifact("0"))
    chain = [dataclasses.replace(first, key=str(n), parents={"x": str(n - 1)} if n else {}) for n in range(3000)]
    assert len(list(tree(chain))) == 3000


@pytest.mark.parametrize("words", [("tree", "xyz"), ("gc", "--runs", "nowhere")])
def test_what_is_not_there_is_reported(store, said, words):
    store.obtain(artifact("a"))
    code, out = said(*words)
    assert code == 2
    assert words[-1] in out


def test_no_store_is_reported(tmp_path, capsys):
    assert main(["list", "--store", str(tmp_path / "nowhere")]) == 2
    assert "there is no store" in capsys.readouterr().err


# ---- gc -------------------------------------------------------------------------------------------------------


def test_what_runs_refer_to_stays_with_all_it_was_made_from(store, said, tmp_path):
    kept, parent, unused = (
        artifact("kept", artifact("parent")),
        artifact("parent"),
        artifact("unused", artifact("parent")),
    )
    for each in (kept, unused):
        store.obtain(each)
    store.note_run("abc", run_folder(tmp_path / "run"), [kept])
    code, out = said("gc")
    assert code == 0
    assert unused.key[:12] in out
    assert parent.key[:12] not in out
    assert all(map(store.has, (kept, parent, unused)))
    code, out = said("gc", "--yes")
    assert (code, store.has(unused)) == (0, False)
    assert store.has(kept)
    assert store.has(parent)
    assert said("verify")[0] == 0
    assert "would be removed: 0" in said("gc")[1]


def test_what_a_removed_run_referred_to_goes(store, said, tmp_path):
    store.obtain(artifact("a"))
    folder = run_folder(tmp_path / "run")
    store.note_run("abc", folder, [artifact("a")])
    shutil.rmtree(folder)
    assert str(folder) in said("gc")[1]
    assert said("gc", "--yes")[0] == 0
    assert not store.has(artifact("a"))
    assert not list((store.root / "runs").iterdir())


def test_a_folder_used_anew_for_another_chain_keeps_the_new_chain_only(store, said, tmp_path):
    for name in ("old", "new"):
        store.obtain(artifact(name))
    folder = run_folder(tmp_path / "run", "old")
    store.note_run("old", folder, [artifact("old")])
    (folder / "chain.json").write_text('{"id": "new"}')
    store.note_run("new", folder, [artifact("new")])
    said("gc", "--yes")
    assert store.has(artifact("new"))
    assert not store.has(artifact("old"))


def test_a_record_that_cannot_be_read_still_keeps_its_artifacts(store, said, tmp_path):
    store.obtain(artifact("a"))
    folder = run_folder(tmp_path / "run")
    store.note_run("abc", folder, [artifact("a")])
    (folder / "chain.json").write_text("{half")
    said("gc", "--yes")
    assert store.has(artifact("a"))


def test_a_run_on_another_machine_keeps_its_artifacts(store, said, tmp_path, monkeypatch):
    store.obtain(artifact("a"))
    folder = run_folder(tmp_path / "run")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(os, "uname", lambda: os.uname_result(("Linux", "far-away", "1", "1", "x")))
        store.note_run("abc", folder, [artifact("a")])
    shutil.rmtree(folder)
    _, out = said("gc")
    assert "far-away" in out
    said("gc", "--yes")
    assert store.has(artifact("a"))


def test_runs_that_were_never_noted_are_found_by_their_folder(store, said, tmp_path):
    """Such as those of a store that was copied, or folders that were moved; a killed run's last line is half."""
    store.obtain(artifact("kept", artifact("parent")))
    store.obtain(artifact("unused"))
    folder = run_folder(tmp_path / "moved" / "deep" / "run", keys=[artifact("kept", artifact("parent")).key])
    with (folder / "provenance.jsonl").open("a") as file:
        file.write('{"generation": 1, "mod')
    said("gc", "--yes", "--runs", str(tmp_path / "moved"))
    assert store.has(artifact("kept", artifact("parent")))
    assert store.has(artifact("parent"))
    assert not store.has(artifact("unused"))


def test_all_goes_if_so_asked(store, said, tmp_path):
    store.obtain(artifact("a"))
    store.note_run("abc", run_folder(tmp_path / "run"), [artifact("a")])
    assert said("gc", "--yes", "--including-referenced")[0] == 0
    assert not store.has(artifact("a"))


def test_what_dead_processes_left_goes_and_what_living_ones_make_stays(store, said, tmp_path):
    store.obtain(artifact("a"))
    store.note_run("abc", run_folder(tmp_path / "run"), [artifact("a"), artifact("half")])
    for name in ("unused", "half"):
        (store.root / "model" / f".{artifact(name).key}.elsewhere-7").mkdir()
        (store.root / "progress" / artifact(name).key / "files").mkdir(parents=True)
    (store.root / "progress" / artifact("a").key / "files").mkdir(parents=True)
    (store.root / "damaged" / "model" / f"{artifact('a').key}.1").mkdir(parents=True)
    code, out = said("gc", "--yes")
    assert code == 0, out
    assert not list(store.root.glob("model/.*"))
    assert [path.name for path in store.root.glob("progress/*")] == [artifact("half").key]
    assert not list(store.root.glob("damaged/*/*"))
    assert store.has(artifact("a"))


def test_notes_that_killed_processes_left_half_written_go(store, said, tmp_path):
    store.obtain(artifact("a"))
    note, folder = (lambda: store.note_run("abc", folder, [artifact("a")])), run_folder(tmp_path / "run")
    note()
    (written,) = (store.root / "runs").iterdir()
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = written.with_name(f".{written.name}.{os.uname().nodename}-{ended.stdout.strip()}")
    for clear in (note, lambda: said("gc", "--yes")):
        left.write_text("half")
        assert said("verify")[0] == 0
        clear()
        assert list((store.root / "runs").iterdir()) == [written]
    assert store.has(artifact("a"))


def build_until_told(context):
    base = Path(context.artifact.recipe["name"])
    (base / "making").touch()
    while not (base / "go").exists():
        time.sleep(0.01)
    build(context)


def obtain_until_told(root, base):
    Store(root).obtain(Artifact("model", {"name": str(base)}, {"parent": artifact("a")}, build_until_told, "slow"))


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_collection_beside_a_process_at_work_takes_nothing_from_it(store, said, tmp_path):
    """The process noted no run: only its locks tell that it needs the parent and makes the child."""
    maker = processes.Process(target=obtain_until_told, args=(store.root, tmp_path))
    maker.start()
    wait_for(tmp_path / "making")
    code, out = said("gc", "--yes")
    assert code == 0
    assert "in use, kept: model" in out
    (tmp_path / "go").touch()
    maker.join()
    assert maker.exitcode == 0
    assert store.has(artifact("a"))
    assert said("verify")[0] == 0


def collect_without_end(root):
    while True:
        main(["gc", "--yes", "--store", str(root)])


def test_a_run_that_starts_during_a_collection_finds_what_it_noted(store, tmp_path):
    """Collections without end beside runs without end: what a run has noted and made is there when it looks."""
    store.obtain(artifact("a"))
    collector = processes.Process(target=collect_without_end, args=(store.root,))
    collector.start()
    try:
        for number in range(20):
            folder = run_folder(tmp_path / f"run-{number}", f"chain-{number}")
            child = artifact(f"child {number}", artifact("parent"))
            store.note_run(f"chain-{number}", folder, [child])
            place = store.obtain(child)
            assert (place / "weights").read_text() == f"child {number}" * 100
            assert store.has(artifact("parent"))
            shutil.rmtree(folder)
    finally:
        collector.kill()
        collector.join()


# ---- the program ----------------------------------------------------------------------------------------------


def test_a_chain_notes_what_it_refers_to(chain, tiny, capsys, tmp_path):
    finished = chain(*tiny, "generations=1", "store.keep=ends")
    other = chain(*tiny, "generations=0", "seed=1")
    store = str(finished.store.root)
    assert main(["gc", "--store", store]) == 0
    assert "would be removed: 0" in capsys.readouterr().out
    shutil.rmtree(other.folder)
    assert main(["gc", "--yes", "--store", store]) == 0
    left = {manifest.label for manifest in finished.store.artifacts()}
    assert {"tokenizer", "real data", "generation 0 · fit", "generation 1 · fit"} <= left
    assert {
        manifest.recipe.get("stream", {}).get("seed")
        for manifest in finished.store.artifacts()
        if manifest.kind == "model"
    } == {0}
    again = chain(*tiny, "generations=1", "store.keep=ends")
    assert again.computed() == []


def test_help_names_every_command():
    answer = subprocess.run(
        [sys.executable, "-m", "modelcollapse", "store", "--help"], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0
    for command in ("verify", "list", "tree", "gc"):
        assert command in answer.stdout


def test_the_store_is_the_one_that_the_settings_name(tmp_path):
    Store(tmp_path / "elsewhere").obtain(artifact("a"))
    environment = {**os.environ, "MODELCOLLAPSE_STORE": str(tmp_path / "elsewhere")}
    words = [sys.executable, "-m", "modelcollapse", "store", "verify"]
    answer = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout) == (0, "1 artifact checked, none damaged\n")
    piped = subprocess.run(
        f"{sys.executable} -m modelcollapse store list | head -1",
        shell=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in piped.stderr
