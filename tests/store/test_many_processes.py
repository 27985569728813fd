"""Many processes and threads on one store: locks, waiting, and removal beside readers."""

import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path

from store_artifacts import answer, artifact, build_weights, kill, litter, noted, processes, remove, started, wait_for

from modelcollapse.store import Store


def build_slowly(context):
    time.sleep(0.2)
    build_weights(context)


def obtain_slow_pair(root, log):
    parent = artifact("parent", log=log, build=build_slowly)
    return Store(root).obtain(artifact("child", parent, log=log, build=build_slowly)).joinpath("weights").read_text()


def test_many_processes_make_a_artifact_once(tmp_path):
    with processes.Pool(6) as pool:
        results = pool.starmap(obtain_slow_pair, [(tmp_path / "store", tmp_path / "log")] * 6, chunksize=1)
    assert results == ["child(parent())"] * 6
    assert noted(tmp_path / "log") == ["parent", "child"]
    assert litter(tmp_path / "store") == []


def test_many_threads_make_a_artifact_once(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    model = artifact("model", log=log, build=build_slowly)
    threads = [threading.Thread(target=store.obtain, args=[model]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert noted(log) == ["model"]
    assert store.has(model)


def build_when_signalled(context):
    base = Path(context.artifact.recipe["name"])
    base.joinpath("building").touch()
    wait_for(base / "go")
    build_weights(context)


def obtain_when_told(root, base):
    Store(root).obtain(artifact(str(base), build=build_when_signalled))


def test_waiting_names_the_builder_once(tmp_path):
    builder = started(obtain_when_told, tmp_path / "store", tmp_path)
    wait_for(tmp_path / "building")
    announced = []

    def listen(message):
        announced.append(message)
        threading.Timer(1, (tmp_path / "go").touch).start()

    model = artifact(str(tmp_path), build=build_when_signalled)
    Store(tmp_path / "store", announce=listen).obtain(model)
    builder.join()
    host = os.uname().nodename
    assert announced == [f"waiting for {model}: process {builder.pid} on {host} is building {model}"]


def read_until_told(root, base):
    with Store(root).reading(artifact("model")):
        base.joinpath("reading").touch()
        wait_for(base / "go")
    base.joinpath("done").touch()
    time.sleep(60)


def test_nothing_is_removed_while_another_process_reads_it(tmp_path):
    store = Store(tmp_path / "store")
    reader = started(read_until_told, store.root, tmp_path)
    wait_for(tmp_path / "reading")
    assert not store.remove(artifact("model"))
    assert store.has(artifact("model"))
    (tmp_path / "go").touch()
    wait_for(tmp_path / "done")
    assert store.remove(artifact("model"))
    assert store.remove(artifact("model"))
    assert not store.has(artifact("model"))
    assert list(store.root.glob("model/*")) == list(store.root.glob("model/.*")) == []
    kill(reader)


def test_lock_on_a_reading_survives_all_else_the_process_does(tmp_path):
    # POSIX locks fall when any descriptor of the file is closed: every way to open it a second time is tried.
    store, model = Store(tmp_path), artifact("model")
    with store.reading(model):
        with store.reading(model), Store(tmp_path).reading(model):
            assert not store.remove(model)
        Store(tmp_path).obtain(model)
        assert not store.remove(model)
        child = os.fork()
        if not child:
            with store.reading(model):
                pass
            os._exit(0)
        assert os.waitpid(child, 0) == (child, 0)
        assert not answer(remove, tmp_path, "model")
    assert answer(remove, tmp_path, "model")


def test_forked_child_has_locks_of_its_own(tmp_path):
    store = Store(tmp_path / "store")
    with store.reading(artifact("model")):
        child = multiprocessing.get_context("fork").Process(target=read_until_told, args=[store.root, tmp_path])
        child.start()
        wait_for(tmp_path / "reading")
    assert not store.remove(artifact("model"))
    kill(child)
    assert store.remove(artifact("model"))


def remove_without_end(root):
    while True:
        remove(root, "model")


def test_what_is_being_read_is_there_however_often_others_remove_it(tmp_path):
    remover = started(remove_without_end, tmp_path)
    store, log = Store(tmp_path), tmp_path / "log"
    deadline = time.monotonic() + 20
    while len(noted(log)) < 25 and time.monotonic() < deadline:
        with store.reading(artifact("model", log=log)) as folder:
            assert folder.joinpath("weights").read_text() == "model()"
    kill(remover)
    assert len(noted(log)) >= 25


def test_removal_cut_short_leaves_no_half_of_a_artifact(tmp_path):
    store, model = Store(tmp_path), artifact("model")
    folder = store.obtain(model)
    for number in range(2000):
        folder.joinpath(str(number)).touch()
    remover = started(remove, tmp_path, "model")
    while store.has(model):
        time.sleep(0.001)
    kill(remover)
    assert not folder.exists()
    assert store.missing([model]) == [model]
    assert store.remove(model)
    assert litter(tmp_path) == []


def test_parents_are_not_removed_while_a_child_is_made(tmp_path):
    def build(context):
        assert not answer(remove, tmp_path, "parent")
        assert not Store(tmp_path).remove(artifact("parent"))
        build_weights(context)

    store = Store(tmp_path)
    store.obtain(artifact("child", artifact("parent"), build=build))
    assert store.has(artifact("parent"))
    assert answer(remove, tmp_path, "parent")


def winner(tmp_path, text):
    """A builder that finds, when it is done, that a process with no respect for locks was faster."""

    def build(context):
        build_weights(context)
        elsewhere = Store(tmp_path / "elsewhere")
        folder = elsewhere.obtain(artifact("model", build=lambda w: w.folder.joinpath("weights").write_text("winner")))
        folder.joinpath("weights").write_text(text)
        shutil.copytree(folder, tmp_path / "store" / "model" / folder.name)

    return build


def test_loser_of_a_race_takes_what_the_winner_published(tmp_path):
    store = Store(tmp_path / "store")
    folder = store.obtain(artifact("model", build=winner(tmp_path, "winner")))
    assert folder.joinpath("weights").read_text() == "winner"
    assert litter(store.root) == []


def test_loser_of_a_race_replaces_a_damaged_winner(tmp_path):
    announced = []
    store = Store(tmp_path / "store", announce=announced.append)
    folder = store.obtain(artifact("model", build=winner(tmp_path, "broken")))
    assert folder.joinpath("weights").read_text() == "model()"
    assert "weights" in announced[0]
    assert litter(store.root) == []
