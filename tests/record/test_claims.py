"""Folders belong to one run, store or report: what is another's is neither written over nor deleted."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import run_command
from modelcollapse.commands import store as store_command
from modelcollapse.console import Announcements
from modelcollapse.errors import UserError
from modelcollapse.record.claiming import (
    OtherChain,
    claimed,
    claimed_by_report,
    made_anew,
    overlap_problem,
    refuse_other_chain,
    status_of,
)
from modelcollapse.store import Artifact, Store, locks
from modelcollapse.store.claims import (
    MARKER_FILE,
    is_in_use,
    mark_files,
    process_began,
    read_claim,
    release,
    store_problem,
    take_over,
    try_claim,
)
from modelcollapse.sweeps.measuring import measure_runs, runs_at

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


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs the exit of a child that is not asked for")
def test_a_process_that_nobody_waits_for_is_not_at_work_in_its_folder(other_process):
    """Its number stays: as that of an orphan in a container whose first process asks for no exit codes."""
    process, folder = other_process
    assert read_claim(folder).is_live
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    os.kill(process.pid, 0)
    assert not read_claim(folder).is_live


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
    (tmp_path / "a").mkdir()
    for name in ("b", "c", "d", "e"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below" / "file").touch()
    assert "holds b, c, d and 2 more, and is no store" in store_problem(tmp_path)
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


# ---- stores, runs and sweeps beside and within each other ------------------------------------------------------------


CHEAP = (
    *("experiment=paper_gaussian", "generations=1", "data.rows=20", "model.replicates=2", "tracking=none"),
    *("trainer.accelerator=cpu", "trainer.threads=1"),
)
PLACES = {
    "one folder": ("S", "S", "is the run folder too"),
    "a run in a store's runs": ("S", "S/runs", "runs is a folder of the store's own"),
    "a run in a store's locks": ("S", "S/locks/mine", "locks is a folder of the store's own"),
    "a run in a store's models": ("S", "S/model", "model is a folder of the store's own"),
    "a store in a run's figures": ("R/figures", "R", "figures is a folder of the run folder's own"),
    "a store in a run's W&B": ("R/wandb/store", "R", "wandb is a folder of the run folder's own"),
    "a run in a store": ("S", "S/run", None),
    "a run deep in a store": ("S", "S/runs_of_mine/today/run", None),
    "a store in a run": ("R/store", "R", None),
    "beside each other": ("S", "R", None),
}
"""Where a store and a run folder are, and what is said where they cannot be there."""


@pytest.mark.parametrize("place", PLACES)
def test_a_store_and_a_run_are_refused_or_accepted_both_times(tmp_path, place):
    store, run, said = PLACES[place]
    words = [*CHEAP, f"paths.store={store}", f"hydra.run.dir={run}"]
    for more in (["plan=true"], [], []):
        answer = run_command([*words, *more], tmp_path, tmp_path / run)
        if said is None:
            assert answer.code == 0, answer.err
        else:
            assert answer.code == 2, answer.out
            assert said in answer.err
            assert not list(tmp_path.iterdir())


def test_a_store_and_a_sweep_are_refused_or_accepted():
    refused = {
        ("S", "S"): "is the folder of a sweep too",
        ("S/0", "S"): "0 is a folder of the folder of a sweep's own",
        ("S/report", "S"): "report is a folder",
        ("S", "S/progress"): "progress is a folder of the store's own",
    }
    for (store, sweep), said in refused.items():
        assert said in overlap_problem(Path(sweep), "sweep", Path(store))
    for store, sweep in (("S", "S/sweep"), ("S/store", "S"), ("S", "R")):
        assert overlap_problem(Path(sweep), "sweep", Path(store)) is None


def test_a_sweep_in_its_store_is_refused_before_any_work(tmp_path):
    words = ["experiment=paper_gaussian", "seed=0,1", "paths.store=S", "hydra.sweep.dir=S"]
    for more in ([], ["plan=true"]):
        answer = run_command([*words, *more], tmp_path, tmp_path, "sweep")
        assert answer.code == 2, answer.out
        assert "is the folder of a sweep too" in answer.err
        assert not list(tmp_path.iterdir())


# ---- reports ---------------------------------------------------------------------------------------------------------


def test_a_report_claims_its_folder(tmp_path, other_process):
    process, _ = other_process
    target = tmp_path / "report"
    with claimed_by_report(target, ["report.html"]) as earlier:
        assert earlier == ()
        with pytest.raises(UserError, match="is using it"), claimed_by_report(target, ["report.html"]):
            pass
        (target / "report.html").write_text("x")
        mark_files(target, "report", ["report.html"])
    marker = target / MARKER_FILE
    # As if that process wrote a report there.
    claim = {**json.loads(marker.read_text()), "process": process.pid, "began": process_began(process.pid)}
    marker.write_text(json.dumps(claim))
    with pytest.raises(UserError, match=f"process {process.pid} on .* is using it"), claimed_by_report(target, []):
        pass
    process.kill()
    process.wait()
    with claimed_by_report(target, ["report.html"]) as earlier:
        assert earlier == ("report.html",)
        # Killed now, the next report still knows whose the files are.
        assert read_claim(target).files == ("report.html",)
    assert read_claim(target).process is None


def test_a_report_that_comes_to_nothing_leaves_no_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed_by_report(tmp_path / "report", ["report.html"]):
        raise ZeroDivisionError
    assert not (tmp_path / "report").exists()


def test_a_report_is_no_part_of_a_store(tmp_path):
    Store(tmp_path / "store").obtain(Artifact("model", {}, {}, build, "a"))
    with pytest.raises(UserError, match="holds files of a store"), claimed_by_report(tmp_path / "store" / "runs", []):
        pass


# ---- commands beside runs --------------------------------------------------------------------------------------------


def test_a_run_in_use_is_not_measured(other_process, tmp_path, train):
    process, folder = other_process
    finished = train(*CHEAP)
    shutil.copy(folder / MARKER_FILE, finished.folder / MARKER_FILE)
    before = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    (run,) = runs_at(finished.folder)
    with pytest.raises(UserError, match=f"process {process.pid} on .* is using it"):
        list(measure_runs([run], ["metrics.set=full"], Announcements()))
    assert {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()} == before
    process.kill()
    process.wait()
    assert len(list(measure_runs([run], ["metrics.set=full"], Announcements()))) == 1
    assert read_claim(finished.folder).process is None


def test_gc_by_another_process_beside_a_chain_at_work_takes_nothing_of_it(tmp_path, monkeypatch, train):
    store, codes = tmp_path / "store", []
    context = multiprocessing.get_context("fork")
    publish = Store._publish

    def published(self, builder):
        publish(self, builder)
        gc = context.Process(target=_collect, args=(store,))
        gc.start()
        gc.join()
        codes.append(gc.exitcode)

    monkeypatch.setattr(Store, "_publish", published)
    words = [*CHEAP, "generations=5", "model.segment_length=2"]
    finished = train(*words)
    assert finished.code == 0, finished.err
    assert len(codes) > 3
    assert {*codes} == {0}
    monkeypatch.undo()
    again = train(*words)
    assert "nothing was computed" in again.out, again.out
    assert again.bytes() == finished.bytes()


def _collect(store):
    output = os.open(os.devnull, os.O_WRONLY)
    os.dup2(output, 1)
    os._exit(store_command.main(["gc", "--yes", "--including-referenced", "--store", str(store)]))


def test_keeping_the_ends_beside_a_finished_run_that_keeps_all(finished_chain, tmp_path):
    finished, original, overrides = finished_chain
    store = tmp_path / "store"
    shutil.copytree(original, store)

    def models():
        return sorted(path.name for path in (store / "model").iterdir())

    before = models()
    words = [*overrides, f"paths.store={store}", f"hydra.run.dir={tmp_path / 'ends'}", "store.keep=ends"]
    ends = run_command(words, tmp_path, tmp_path / "ends")
    assert ends.code == 0, ends.err
    assert models() == before
    assert ends.bytes() == finished.bytes()
    # Where there is no other run, they go.
    for note in (store / "runs").iterdir():
        if str(tmp_path / "ends") not in note.read_text():
            note.unlink()
    assert run_command(words, tmp_path, tmp_path / "ends").code == 0
    assert len(models()) < len(before)
