"""Folders belong to one run, store or report: what is another's is neither written over nor deleted."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from modelcollapse.commands import store as store_command
from modelcollapse.errors import UserError
from modelcollapse.record.claiming import OtherChain, claimed, made_anew, refuse_other_chain, status_of
from modelcollapse.store import Artifact, Store, locks
from modelcollapse.store.claims import (
    MARKER_FILE,
    is_in_use,
    mark_files,
    read_claim,
    release,
    store_problem,
    take_over,
    try_claim,
)

CLAIM_AND_WAIT = """
import sys, time
from pathlib import Path
from modelcollapse.store.claims import try_claim
assert try_claim(Path(sys.argv[1]), "run")
print("claimed", flush=True)
time.sleep(600)
"""


@pytest.fixture
def other_process(tmp_path):
    """A process that has claimed a run folder, and the folder."""
    folder = tmp_path / "claimed"
    process = subprocess.Popen([sys.executable, "-c", CLAIM_AND_WAIT, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"claimed\n"
    yield process, folder
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_is_claimed_by_one_of_many(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: made_anew(tmp_path / "made") == tmp_path / "made", range(8))) == 1
    assert [try_claim(tmp_path / "run", "run") for _ in range(3)] == [True, False, False]


def test_runs_of_one_second_get_folders_of_their_own(tmp_path):
    folder = tmp_path / "12-00-00"
    folder.mkdir()
    with (
        claimed(folder, "run", by_time=True) as first,
        claimed(folder, "run", by_time=True) as second,
        claimed(folder, "run", by_time=True) as third,
    ):
        assert [first.name, second.name, third.name] == ["12-00-00", "12-00-00-1", "12-00-00-2"]
        (second / "chain.json").write_text("{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12-00-00", "12-00-00-1"]
    assert list(folder.iterdir()) == []


def test_a_folder_in_use_is_refused_and_free_when_its_process_was_killed(other_process):
    process, folder = other_process
    with (
        pytest.raises(UserError, match=f"process {process.pid} on .* is using it"),
        claimed(folder, "run", by_time=False),
    ):
        pass
    assert status_of(folder, {"status": "running"}) == "running"
    process.kill()
    process.wait()
    assert status_of(folder, {"status": "running"}) == "killed"
    assert status_of(folder, {"status": "failed"}) == "failed"
    (folder / "chain.json").write_text('{"id": "a"}')
    with claimed(folder, "run", by_time=False):
        assert read_claim(folder).process == os.getpid()
        assert status_of(folder, {"status": "running"}) == "running"
    assert read_claim(folder).process is None


def test_a_later_process_with_the_same_number_is_another(tmp_path):
    assert try_claim(tmp_path, "run")
    marker = tmp_path / MARKER_FILE
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "began": "an earlier boot 12"}))
    assert not read_claim(tmp_path).is_live


def test_a_folder_is_in_use_from_the_claim_to_the_release(tmp_path):
    folder = tmp_path / "not" / "there"
    assert not is_in_use(folder, read_claim(folder))
    assert try_claim(folder, "run")
    claim = read_claim(folder)
    assert (claim.what, claim.process, claim.is_live, claim.is_elsewhere) == ("run", os.getpid(), True, False)
    assert is_in_use(folder, claim)
    assert [path.name for path in folder.iterdir()] == [MARKER_FILE]
    release(folder)
    assert not is_in_use(folder, claim), "the marker may go on to name this process where it cannot be written"
    assert (read_claim(folder).what, read_claim(folder).process, read_claim(folder).is_live) == ("run", None, False)


def test_where_there_are_no_links_a_folder_is_claimed_by_one_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    assert [try_claim(tmp_path / "run", "run") for _ in range(2)] == [True, False]
    assert is_in_use(tmp_path / "run", read_claim(tmp_path / "run"))
    release(tmp_path / "run")
    assert not read_claim(tmp_path / "run").is_live


def test_a_claim_of_another_machine_is_elsewhere_and_says_nothing_of_a_process_here(tmp_path):
    assert try_claim(tmp_path, "run")
    there = replace(read_claim(tmp_path), host="another")
    assert (there.is_elsewhere, there.is_live) == (True, False)
    assert not replace(there, process=None).is_elsewhere


def test_only_the_marker_that_was_found_is_taken_over(tmp_path):
    assert try_claim(tmp_path, "run")
    ended = replace(read_claim(tmp_path), began="an earlier boot 12")
    # Another process was first: its marker stays.
    assert not take_over(tmp_path, ended, "run")
    assert read_claim(tmp_path).is_live
    assert take_over(tmp_path, read_claim(tmp_path), "report")
    assert read_claim(tmp_path).what == "report"
    assert [path.name for path in tmp_path.iterdir()] == [MARKER_FILE]
    release(tmp_path)


def test_files_that_are_ours_are_listed_where_the_folder_is_not(tmp_path):
    mark_files(tmp_path, "report", ["b.html", "a.png"])
    claim = read_claim(tmp_path)
    assert (claim.what, claim.files, claim.process, claim.began) == ("report", ("a.png", "b.html"), None, None)


def test_files_of_others_are_not_written_over(tmp_path):
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files \(config.yaml\)"), claimed(tmp_path, "run", by_time=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_the_record_of_another_chain_is_not_written_over(tmp_path):
    (tmp_path / "chain.json").write_text('{"id": "a"}')
    refuse_other_chain(tmp_path, "a")
    with pytest.raises(OtherChain, match=r"record of another chain \(a; this one is b"):
        refuse_other_chain(tmp_path, "b")


def test_the_command_refuses_a_folder_with_other_files(tmp_path, train):
    (tmp_path / "config.yaml").write_text("mine")
    refused = train("experiment=paper_discrete", folder=".")
    assert refused.code == 2
    assert "holds other files (config.yaml)" in refused.err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


# ---- stores ----------------------------------------------------------------------------------------------------------


def build(context):
    (context.folder / "weights").write_text("w")


def test_nothing_is_removed_from_a_folder_that_is_no_store(tmp_path, capsys):
    (tmp_path / "runs" / ".git").mkdir(parents=True)
    (tmp_path / "model" / ("0" * 32)).mkdir(parents=True)
    assert store_command.main(["gc", "--yes", "--store", str(tmp_path)]) == 2
    assert "is no store" in capsys.readouterr().err
    assert (tmp_path / "runs" / ".git").is_dir()
    assert (tmp_path / "model" / ("0" * 32)).is_dir()


def test_a_folder_with_other_files_becomes_no_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert "holds thesis.tex" in store_problem(tmp_path)
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    assert "holds a, b, c and 2 more, and is no store" in store_problem(tmp_path)
    assert store_problem(tmp_path / "a") is None
    assert store_problem(tmp_path / "missing") is None
    (tmp_path / "a" / ".hidden").touch()
    assert try_claim(tmp_path / "a" / "run", "run")
    release(tmp_path / "a" / "run")
    assert store_problem(tmp_path / "a") is None
    Store(tmp_path / "store").obtain(Artifact("model", {}, {}, build, "a"))
    assert store_problem(tmp_path / "store") is None


def test_what_a_run_at_work_refers_to_stays(tmp_path, other_process):
    process, folder = other_process
    store, artifact = Store(tmp_path / "store"), Artifact("model", {}, {}, build, "a")
    store.obtain(artifact)
    (folder / "chain.json").write_text('{"id": "abc"}')
    store.note_run("abc", folder, [artifact])
    command = ["gc", "--yes", "--including-referenced", "--store", str(store.root)]
    assert store_command.main(command) == 0
    assert store.has(artifact)
    process.kill()
    process.wait()
    assert store_command.main(command) == 0
    assert not store.has(artifact)


def test_a_run_that_keeps_the_ends_takes_nothing_from_one_that_keeps_all(tmp_path):
    store, artifact = Store(tmp_path / "store"), Artifact("model", {}, {}, build, "a")
    store.obtain(artifact)
    for name, dispensable in (("all", []), ("ends", [artifact]), ("other ends", [artifact])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chain.json").write_text('{"id": "abc"}')
        store.note_run("abc", tmp_path / name, [artifact], dispensable)
    store.remove_unless_kept([artifact], tmp_path / "ends")
    assert store.has(artifact)
    shutil.rmtree(tmp_path / "all")
    store.remove_unless_kept([artifact], tmp_path / "ends")
    assert not store.has(artifact)


def test_a_copy_that_can_only_be_read_needs_no_lock_files(tmp_path, monkeypatch):
    store, artifact = Store(tmp_path / "store"), Artifact("model", {}, {}, build, "a")
    store.obtain(artifact)
    shutil.rmtree(store.root / "locks")

    def refused(*arguments, **keywords):
        raise PermissionError(13, "Permission denied", "locks")

    # As on a disk that can only be read; root may write to folders of any mode.
    monkeypatch.setattr(locks, "make_folder", refused)
    with Store(store.root).reading(artifact) as folder:
        assert (folder / "weights").read_text() == "w"
    assert not (store.root / "locks").exists()
