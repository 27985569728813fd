"""Makers that are killed: the next one goes on, with the same bits, and tidies up."""

import os
import random
import signal
import time
from pathlib import Path

from store_artifacts import artifact, kill, litter, note, noted, started, wait_for

from modelcollapse.store import Artifact, Store, verify


def build_shards(context):
    """Write five shards, each kept in progress; stalls in the fourth while the file ``stall`` is there."""
    base = Path(context.artifact.recipe["base"])
    for index in range(5):
        shard = context.progress / f"shard-{index}"
        if shard.exists():
            continue
        context.folder.joinpath("scratch").write_text(str(os.getpid()))
        if index == 3 and base.joinpath("stall").exists():
            base.joinpath("stalled").touch()
            time.sleep(60)
        time.sleep(0.1)
        note(base / "log", f"shard-{index}")
        cut = context.progress / "cut"
        cut.write_text(f"content {index}")
        cut.rename(shard)
    for shard in context.progress.glob("shard-*"):
        shard.rename(context.folder / shard.name)
    context.folder.joinpath("scratch").unlink(missing_ok=True)


def shards(base):
    return Artifact("synthetic", {"base": str(base)}, {}, build_shards, "generation 1 · synthesis")


def obtain_shards(root, base):
    Store(root).obtain(shards(base))


def test_killed_make_goes_on_from_its_progress_with_the_same_result(tmp_path):
    base, root = tmp_path, tmp_path / "store"
    base.joinpath("stall").touch()
    builder = started(obtain_shards, root, base)
    wait_for(base / "stalled")
    kill(builder)
    assert len(litter(root)) == 2
    base.joinpath("stall").unlink()

    store = Store(root)
    resumed = store.obtain(shards(base))
    assert noted(base / "log") == [f"shard-{index}" for index in range(5)]
    assert litter(root) == []
    in_one_go = Store(tmp_path / "other store")
    in_one_go.obtain(shards(base))
    assert store.manifest(shards(base)).files == in_one_go.manifest(shards(base)).files
    assert sorted(path.name for path in resumed.iterdir()) == [
        "manifest.json",
        *(f"shard-{index}" for index in range(5)),
    ]
    assert 0.45 < store.manifest(shards(base)).seconds < 5


def build_and_fork(context):
    base = Path(context.artifact.recipe["name"])
    if not base.joinpath("worker").exists():
        worker = os.fork()
        if not worker:
            time.sleep(60)
            os._exit(0)
        base.joinpath("cut").write_text(str(worker))
        base.joinpath("cut").rename(base / "worker")
        time.sleep(60)
    context.folder.joinpath("weights").write_text("made")


def obtain_and_fork(root, base):
    Store(root).obtain(artifact(str(base), build=build_and_fork))


def test_forked_worker_that_outlives_a_killed_builder_holds_no_lock(tmp_path):
    builder = started(obtain_and_fork, tmp_path / "store", tmp_path)
    wait_for(tmp_path / "worker")
    kill(builder)
    worker = int((tmp_path / "worker").read_text())
    try:
        announced = []
        Store(tmp_path / "store", announce=announced.append).obtain(artifact(str(tmp_path), build=build_and_fork))
        os.kill(worker, 0)
        assert announced == []
    finally:
        os.kill(worker, signal.SIGKILL)


def test_what_was_left_between_publishing_and_dropping_progress_is_tidied(tmp_path):
    store, model = Store(tmp_path), artifact("model")
    store.obtain(model)
    tmp_path.joinpath("progress", model.key, "files").mkdir(parents=True)
    tmp_path.joinpath("model", f".{model.key}.elsewhere-7").mkdir()
    Store(tmp_path).obtain(model)
    assert litter(tmp_path) == []


def test_temporary_folders_of_dead_builders_are_swept_and_those_of_others_are_not(tmp_path):
    store, model, other = Store(tmp_path), artifact("model"), artifact("other")
    for each in (model, other):
        stale = tmp_path / "model" / f".{each.key}.elsewhere-7"
        stale.mkdir(parents=True)
        stale.joinpath("half").write_text("x")
    store.obtain(model)
    assert litter(tmp_path) == [tmp_path / "model" / f".{other.key}.elsewhere-7"]


def churn(root, seed):
    """Make and remove the artifacts of a small chain without end."""
    shuffler, store = random.Random(seed), Store(root)
    root.parent.joinpath(f"churning-{seed}").touch()
    while True:
        parent = artifact("parent")
        store.obtain(artifact(str(shuffler.randrange(3)), parent))
        store.remove(shuffler.choice([parent, artifact(str(shuffler.randrange(3)), parent)]))


def test_artifacts_are_whole_or_absent_after_kills_at_any_moment(tmp_path):
    root = tmp_path / "store"
    for seed in range(3):
        pair = [started(churn, root, seed), started(churn, root, 100 + seed)]
        wait_for(tmp_path / f"churning-{seed}")
        time.sleep(random.Random(seed).uniform(0.05, 0.25))
        for process in pair:
            kill(process)
        for manifest in Store(root).artifacts():
            verify(root / manifest.kind / manifest.key)
    announced = []
    store, goals = Store(root, announce=announced.append), [artifact(str(n), artifact("parent")) for n in range(3)]
    assert [store.obtain(goal).joinpath("weights").read_text() for goal in goals] == [
        f"{n}(parent())" for n in range(3)
    ]
    for each in (*goals, artifact("parent")):
        assert store.remove(each)
    assert litter(root) == []
    assert announced == []
