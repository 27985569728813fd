import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcollapse.store import Damaged, Piece, Store, canonical_json, verify

# Processes of their own, forked from a clean server that holds no lock: quicker than to import anew in each.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["pytest", "hypothesis", "modelcollapse.store"])


def note(log, line):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def noted(log):
    return log.read_text().split() if log.exists() else []


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.005)


def kill(process):
    process.kill()
    process.join()


def started(function, *arguments):
    process = processes.Process(target=function, args=arguments)
    process.start()
    return process


def answer(function, *arguments):
    """What a fresh process returns."""
    with processes.Pool(1) as pool:
        return pool.apply(function, arguments)


def make_weights(workshop):
    read = [path.joinpath("weights").read_text() for path in workshop.parents.values()]
    name = workshop.piece.recipe["name"]
    workshop.folder.joinpath("weights").write_text(f"{name}({','.join(read)})")
    workshop.folder.joinpath("nested").mkdir()
    workshop.folder.joinpath("nested", "settings.json").write_text('{"width": 3}')


def piece(name, *parents, log=None, make=make_weights, kind="model"):
    def made(workshop):
        if log is not None:
            note(log, name)
        make(workshop)

    roles = {f"parent {index}": parent for index, parent in enumerate(parents)}
    return Piece(kind=kind, recipe={"name": name}, parents=roles, make=made, label=f"fit of {name}")


def litter(root):
    """What a store at rest must not hold: temporary folders and progress."""
    return [*root.glob("*/.*"), *root.glob("progress/*")]


# Keys


def make_nothing(workshop):
    pass


def reference_recipe():
    data = Piece("data", {"corpus": "wikitext", "rows": 100}, {}, make_nothing, "data")
    model = Piece(
        "model",
        {"settings": {"rate": 2e-5, "layers": (1, 2), "dropout": None}, "seed": [3, 0, "fit"], "version": 1},
        {"training data": data, "validation data": data},
        make_nothing,
        "generation 0 · fit",
    )
    return data, model


def test_keys_stay_what_they_were():
    # Golden values: if they change, every store in the world is forgotten.
    data, model = reference_recipe()
    assert data.key == "a738abd9bacd239352b04a47c1403f85"
    assert model.key == "111de9f527bf20496f9b0039b37d4e8f"


def test_key_is_the_hash_of_the_canonical_recipe():
    data, _ = reference_recipe()
    text = b'{"kind":"data","parents":{},"recipe":{"corpus":"wikitext","rows":100}}'
    digest = subprocess.run(["sha256sum"], input=text, capture_output=True, check=True).stdout.decode()
    assert data.key == digest[:32]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "base"},
        {"recipe": {"rate": 0.1, "version": 2}},
        {"recipe": {"rate": 0.1, "version": 1.0}},
        {"recipe": {"rate": 0.1, "version": True}},
        {"recipe": {"rate": 0.1, "version": "1"}},
        {"recipe": {"rate": 0.1 + 1e-17 + 2e-17, "version": 1}},
        {"recipe": {"rate": 0.1}},
        {"recipe": {"rate": 0.1, "version": 1, "more": None}},
        {"parents": {}},
        {"parents": {"validation data": piece("a")}},
        {"parents": {"training data": piece("b")}},
        {"parents": {"training data": piece("a"), "validation data": piece("a")}},
    ],
    ids=str,
)
def test_key_depends_on_everything_in_the_recipe(change):
    fields = {
        "kind": "model",
        "recipe": {"rate": 0.1, "version": 1},
        "parents": {"training data": piece("a")},
    }
    usual = Piece(**fields, make=make_nothing, label="x")
    changed = Piece(**(fields | change), make=make_nothing, label="x")
    assert changed.key != usual.key
    assert changed != usual


def test_key_depends_on_nothing_else():
    one = Piece("model", {"a": 1, "b": [2]}, {"x": piece("x"), "y": piece("y")}, make_nothing, "one")
    two = Piece("model", {"b": (2,), "a": 1}, {"y": piece("y"), "x": piece("x")}, make_weights, "two", 10**9)
    assert one.key == two.key
    assert len({one, two}) == 1


def test_recipe_cannot_be_changed_behind_the_key():
    settings = {"rate": [0.1]}
    model = Piece("model", settings, {}, make_nothing, "x")
    settings["rate"].append(0.2)
    assert model.recipe == {"rate": [0.1]}
    with pytest.raises(TypeError):
        model.recipe["rate"] = 1


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [
        ({"a": [1, {"b": float("nan")}]}, ValueError, r"recipe\.a\[1\]\.b is nan"),
        ({"a": float("-inf")}, ValueError, r"recipe\.a is -inf"),
        ({"a": {1, 2}}, TypeError, r"recipe\.a is .* a set"),
        ({"a": b"x"}, TypeError, "a bytes"),
        ({"a": Path("x")}, TypeError, "Path"),
        ({"a": {1: "x"}}, TypeError, r"recipe\.a has the name 1, a int"),
        ({"a": signal.SIGKILL}, TypeError, "a Signals"),
    ],
)
def test_recipe_that_is_not_json_is_refused_and_the_place_named(value, error, told):
    with pytest.raises(error, match=told):
        Piece("model", value, {}, make_nothing, "x")


@pytest.mark.parametrize("kind", ["locks", "progress", "damaged", "", "../model", "a/b", ".model", "Model"])
def test_kind_that_cannot_name_a_folder_is_refused(kind):
    with pytest.raises(ValueError, match="cannot name a folder"):
        Piece(kind, {}, {}, make_nothing, "x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)


def reordered(value, shuffle):
    if isinstance(value, dict):
        items = [(name, reordered(item, shuffle)) for name, item in value.items()]
        shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return tuple(reordered(item, shuffle) for item in value)
    return value


@given(json_values, st.randoms(use_true_random=False))
def test_canonical_json_does_not_depend_on_order_and_loses_nothing(value, shuffler):
    text = canonical_json(value)
    assert canonical_json(reordered(value, shuffler.shuffle)) == text
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


# Planning and making


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


# What goes wrong while making


def test_failed_make_leaves_its_progress_and_nothing_else(tmp_path):
    def make(workshop):
        workshop.folder.joinpath("weights").write_text("half")
        if not any(workshop.progress.iterdir()):
            workshop.progress.joinpath("epoch").write_text("1")
            raise ZeroDivisionError("diverged")

    store, model = Store(tmp_path), piece("model", make=make)
    with pytest.raises(ZeroDivisionError, match="diverged"):
        store.obtain(model)
    assert not store.has(model)
    assert list(tmp_path.glob("model/*")) == list(tmp_path.glob("model/.*")) == []
    assert answer(obtain_plain, tmp_path, "other")
    store.obtain(model)
    assert litter(tmp_path) == []


def obtain_plain(root, name):
    return Store(root).obtain(piece(name)).joinpath("weights").read_text()


def link_out(workshop):
    workshop.folder.joinpath("weights").symlink_to("/etc/hostname")


def link_folder(workshop):
    workshop.folder.joinpath("weights").symlink_to(workshop.progress, target_is_directory=True)


def make_pipe(workshop):
    os.mkfifo(workshop.folder / "weights")


def take_the_manifests_name(workshop):
    workshop.folder.joinpath("manifest.json").write_text("{}")


def tell_no_json(workshop):
    make_weights(workshop)
    workshop.execution["device"] = Path("cpu")


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (link_out, ValueError, "weights: only plain files"),
        (link_folder, ValueError, "weights: only plain files"),
        (make_pipe, ValueError, "weights: only plain files"),
        (make_nothing, ValueError, "fit of model"),
        (take_the_manifests_name, ValueError, r"manifest\.json"),
        (tell_no_json, TypeError, r"execution\.device"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path, make, error, told):
    store, model = Store(tmp_path), piece("model", make=make)
    with pytest.raises(error, match=told):
        store.obtain(model)
    assert not store.has(model)
    assert list(tmp_path.glob("model/.*")) == []


def test_a_piece_that_needs_itself_is_an_error_rather_than_a_wait_without_end(tmp_path):
    store = Store(tmp_path)
    model = piece("model", make=lambda workshop: store.obtain(workshop.piece))
    with pytest.raises(RuntimeError, match="wait for a lock that it holds itself"):
        store.obtain(model)


def fail_on_a_full_disk(root, make):
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
    model = piece("model", make=make)
    try:
        Store(root).obtain(model)
    except OSError as error:
        return error.filename, Store(root).has(model)


def make_large(workshop):
    workshop.folder.joinpath("weights").write_bytes(bytes(301))


@pytest.mark.parametrize(("make", "place"), [(make_weights, ".*/manifest.json"), (make_large, ".*")])
def test_full_disk_is_an_error_that_says_where(tmp_path, make, place):
    path, published = answer(fail_on_a_full_disk, tmp_path, make)
    assert Path(path).relative_to(tmp_path / "model").match(place)
    assert not published
    assert list(tmp_path.glob("model/.*")) == []


def use_read_only(root):
    if os.geteuid() == 0:
        os.setuid(65534)
    store = Store(root)
    with store.reading(piece("made")) as folder:
        read = folder.joinpath("weights").read_text()
    errors = []
    for use in (lambda: store.obtain(piece("absent")), lambda: store.remove(piece("made"))):
        with pytest.raises(PermissionError) as refused:
            use()
        errors.append(refused.value.filename)
    return read, errors


def test_read_only_store_can_be_read_and_says_what_it_cannot_write():
    # Not under tmp_path: other users, as whom this runs where the tests are root's, cannot enter that.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        Store(root).obtain(piece("made"))
        everything = [root, *root.rglob("*")]
        for path in everything:
            path.chmod(0o555 if path.is_dir() else 0o444)
        # Forked, so that nothing has to be imported as another user.
        with multiprocessing.get_context("fork").Pool(1) as pool:
            read, errors = pool.apply(use_read_only, (root,))
        for path in everything:
            path.chmod(0o755)
    assert read == "made()"
    assert [Path(path).parent for path in errors] == [root / "locks", root / "locks"]


# Kills


def make_shards(workshop):
    """Write five shards, each kept in progress; stalls in the fourth while the file ``stall`` is there."""
    base = Path(workshop.piece.recipe["base"])
    for index in range(5):
        shard = workshop.progress / f"shard-{index}"
        if shard.exists():
            continue
        workshop.folder.joinpath("scratch").write_text(str(os.getpid()))
        if index == 3 and base.joinpath("stall").exists():
            base.joinpath("stalled").touch()
            time.sleep(60)
        time.sleep(0.1)
        note(base / "log", f"shard-{index}")
        cut = workshop.progress / "cut"
        cut.write_text(f"content {index}")
        cut.rename(shard)
    for shard in workshop.progress.glob("shard-*"):
        shard.rename(workshop.folder / shard.name)
    workshop.folder.joinpath("scratch").unlink(missing_ok=True)


def shards(base):
    return Piece("synthetic", {"base": str(base)}, {}, make_shards, "generation 1 · synthesis")


def obtain_shards(root, base):
    Store(root).obtain(shards(base))


def test_killed_make_goes_on_from_its_progress_with_the_same_result(tmp_path):
    base, root = tmp_path, tmp_path / "store"
    base.joinpath("stall").touch()
    maker = started(obtain_shards, root, base)
    wait_for(base / "stalled")
    kill(maker)
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


def make_and_fork(workshop):
    base = Path(workshop.piece.recipe["name"])
    if not base.joinpath("worker").exists():
        worker = os.fork()
        if not worker:
            time.sleep(60)
            os._exit(0)
        base.joinpath("cut").write_text(str(worker))
        base.joinpath("cut").rename(base / "worker")
        time.sleep(60)
    workshop.folder.joinpath("weights").write_text("made")


def obtain_and_fork(root, base):
    Store(root).obtain(piece(str(base), make=make_and_fork))


def test_forked_worker_that_outlives_a_killed_maker_holds_no_lock(tmp_path):
    maker = started(obtain_and_fork, tmp_path / "store", tmp_path)
    wait_for(tmp_path / "worker")
    kill(maker)
    worker = int((tmp_path / "worker").read_text())
    try:
        told = []
        Store(tmp_path / "store", announce=told.append).obtain(piece(str(tmp_path), make=make_and_fork))
        os.kill(worker, 0)
        assert told == []
    finally:
        os.kill(worker, signal.SIGKILL)


def test_what_was_left_between_publishing_and_dropping_progress_is_tidied(tmp_path):
    store, model = Store(tmp_path), piece("model")
    store.obtain(model)
    tmp_path.joinpath("progress", model.key, "files").mkdir(parents=True)
    tmp_path.joinpath("model", f".{model.key}.elsewhere-7").mkdir()
    Store(tmp_path).obtain(model)
    assert litter(tmp_path) == []


def test_temporary_folders_of_dead_makers_are_swept_and_those_of_others_are_not(tmp_path):
    store, model, other = Store(tmp_path), piece("model"), piece("other")
    for each in (model, other):
        stale = tmp_path / "model" / f".{each.key}.elsewhere-7"
        stale.mkdir(parents=True)
        stale.joinpath("half").write_text("x")
    store.obtain(model)
    assert litter(tmp_path) == [tmp_path / "model" / f".{other.key}.elsewhere-7"]


def churn(root, seed):
    """Make and remove the pieces of a small chain without end."""
    shuffler, store = random.Random(seed), Store(root)
    root.parent.joinpath(f"churning-{seed}").touch()
    while True:
        parent = piece("parent")
        store.obtain(piece(str(shuffler.randrange(3)), parent))
        store.remove(shuffler.choice([parent, piece(str(shuffler.randrange(3)), parent)]))


def test_pieces_are_whole_or_absent_after_kills_at_any_moment(tmp_path):
    root = tmp_path / "store"
    for seed in range(3):
        pair = [started(churn, root, seed), started(churn, root, 100 + seed)]
        wait_for(tmp_path / f"churning-{seed}")
        time.sleep(random.Random(seed).uniform(0.05, 0.25))
        for process in pair:
            kill(process)
        for manifest in Store(root).pieces():
            verify(root / manifest.kind / manifest.key)
    told = []
    store, goals = Store(root, announce=told.append), [piece(str(n), piece("parent")) for n in range(3)]
    assert [store.obtain(goal).joinpath("weights").read_text() for goal in goals] == [
        f"{n}(parent())" for n in range(3)
    ]
    for each in (*goals, piece("parent")):
        assert store.remove(each)
    assert litter(root) == []
    assert told == []


# Many processes


def make_slowly(workshop):
    time.sleep(0.2)
    make_weights(workshop)


def obtain_slow_pair(root, log):
    parent = piece("parent", log=log, make=make_slowly)
    return Store(root).obtain(piece("child", parent, log=log, make=make_slowly)).joinpath("weights").read_text()


def test_many_processes_make_a_piece_once(tmp_path):
    with processes.Pool(6) as pool:
        results = pool.starmap(obtain_slow_pair, [(tmp_path / "store", tmp_path / "log")] * 6, chunksize=1)
    assert results == ["child(parent())"] * 6
    assert noted(tmp_path / "log") == ["parent", "child"]
    assert litter(tmp_path / "store") == []


def test_many_threads_make_a_piece_once(tmp_path):
    store, log = Store(tmp_path / "store"), tmp_path / "log"
    model = piece("model", log=log, make=make_slowly)
    threads = [threading.Thread(target=store.obtain, args=[model]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert noted(log) == ["model"]
    assert store.has(model)


def make_when_told(workshop):
    base = Path(workshop.piece.recipe["name"])
    base.joinpath("making").touch()
    wait_for(base / "go")
    make_weights(workshop)


def obtain_when_told(root, base):
    Store(root).obtain(piece(str(base), make=make_when_told))


def test_waiting_says_once_for_whom(tmp_path):
    maker = started(obtain_when_told, tmp_path / "store", tmp_path)
    wait_for(tmp_path / "making")
    told = []

    def listen(message):
        told.append(message)
        threading.Timer(1, (tmp_path / "go").touch).start()

    model = piece(str(tmp_path), make=make_when_told)
    Store(tmp_path / "store", announce=listen).obtain(model)
    maker.join()
    host = os.uname().nodename
    assert told == [f"waiting for {model}: process {maker.pid} on {host} is making {model}"]


def read_until_told(root, base):
    with Store(root).reading(piece("model")):
        base.joinpath("reading").touch()
        wait_for(base / "go")
    base.joinpath("done").touch()
    time.sleep(60)


def remove(root, name):
    return Store(root).remove(piece(name))


def test_nothing_is_removed_while_another_process_reads_it(tmp_path):
    store = Store(tmp_path / "store")
    reader = started(read_until_told, store.root, tmp_path)
    wait_for(tmp_path / "reading")
    assert not store.remove(piece("model"))
    assert store.has(piece("model"))
    (tmp_path / "go").touch()
    wait_for(tmp_path / "done")
    assert store.remove(piece("model"))
    assert store.remove(piece("model"))
    assert not store.has(piece("model"))
    assert list(store.root.glob("model/*")) == list(store.root.glob("model/.*")) == []
    kill(reader)


def test_lock_on_a_reading_survives_all_else_the_process_does(tmp_path):
    # POSIX locks fall when any descriptor of the file is closed: every way to open it a second time is tried.
    store, model = Store(tmp_path), piece("model")
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
    with store.reading(piece("model")):
        child = multiprocessing.get_context("fork").Process(target=read_until_told, args=[store.root, tmp_path])
        child.start()
        wait_for(tmp_path / "reading")
    assert not store.remove(piece("model"))
    kill(child)
    assert store.remove(piece("model"))


def remove_without_end(root):
    while True:
        remove(root, "model")


def test_what_is_being_read_is_there_however_often_others_remove_it(tmp_path):
    remover = started(remove_without_end, tmp_path)
    store, log = Store(tmp_path), tmp_path / "log"
    deadline = time.monotonic() + 20
    while len(noted(log)) < 25 and time.monotonic() < deadline:
        with store.reading(piece("model", log=log)) as folder:
            assert folder.joinpath("weights").read_text() == "model()"
    kill(remover)
    assert len(noted(log)) >= 25


def test_removal_cut_short_leaves_no_half_of_a_piece(tmp_path):
    store, model = Store(tmp_path), piece("model")
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
    def make(workshop):
        assert not answer(remove, tmp_path, "parent")
        assert not Store(tmp_path).remove(piece("parent"))
        make_weights(workshop)

    store = Store(tmp_path)
    store.obtain(piece("child", piece("parent"), make=make))
    assert store.has(piece("parent"))
    assert answer(remove, tmp_path, "parent")


def winner(tmp_path, text):
    """A maker that finds, when it is done, that a process with no respect for locks was faster."""

    def make(workshop):
        make_weights(workshop)
        elsewhere = Store(tmp_path / "elsewhere")
        folder = elsewhere.obtain(piece("model", make=lambda w: w.folder.joinpath("weights").write_text("winner")))
        folder.joinpath("weights").write_text(text)
        shutil.copytree(folder, tmp_path / "store" / "model" / folder.name)

    return make


def test_loser_of_a_race_takes_what_the_winner_published(tmp_path):
    store = Store(tmp_path / "store")
    folder = store.obtain(piece("model", make=winner(tmp_path, "winner")))
    assert folder.joinpath("weights").read_text() == "winner"
    assert litter(store.root) == []


def test_loser_of_a_race_replaces_a_damaged_winner(tmp_path):
    told = []
    store = Store(tmp_path / "store", announce=told.append)
    folder = store.obtain(piece("model", make=winner(tmp_path, "broken")))
    assert folder.joinpath("weights").read_text() == "model()"
    assert "weights" in told[0]
    assert litter(store.root) == []


# Damage


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forge(path, **changes):
    """Alter a manifest and seal it again, as no accident would."""
    fields = json.loads(path.read_text()) | changes
    del fields["seal"]
    sealing = subprocess.run(
        ["sha256sum"], input=canonical_json(fields).encode(), capture_output=True, check=True, text=False
    )
    path.write_text(json.dumps({**fields, "seal": sealing.stdout.decode().split()[0]}))


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
    "manifest a folder": ("manifest.json", lambda folder, other: fold(folder / "manifest.json")),
    "manifest emptied": ("manifest.json", lambda folder, other: os.truncate(folder / "manifest.json", 0)),
    "manifest flipped": ("manifest.json", lambda folder, other: flip(folder / "manifest.json")),
    "manifest a list": ("manifest.json", lambda folder, other: (folder / "manifest.json").write_text("[]")),
    "manifest infinite": (
        "manifest.json",
        lambda f, o: (f / "manifest.json").write_text('{"seal": 1, "a": 1e999}'),
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


def fold(path):
    path.unlink()
    path.mkdir()


@pytest.fixture
def damaged(tmp_path, request):
    """A store with a damaged piece, the name of the damaged file, and the piece."""
    name, damage = damages[request.param]
    store, model = Store(tmp_path), piece("model", piece("parent"))
    folder = store.obtain(model)
    # Of the same size, so that only the checksum can tell.
    damage(folder, store.obtain(piece("ledom", piece("parent"))))
    return tmp_path, name, model


@pytest.mark.parametrize("damaged", damages, indirect=True)
def test_damaged_piece_is_moved_aside_and_made_again(damaged):
    root, name, model = damaged
    told = []
    store = Store(root, announce=told.append)
    folder = store.obtain(model)
    assert folder.joinpath("weights").read_text() == "model(parent())"
    verify(folder)
    aside = root / "damaged" / "model" / f"{model.key}.1"
    assert os.path.lexists(aside)
    assert len(told) == 1
    assert str(store.folder(model) / name) in told[0]
    assert str(aside) in told[0]
    assert litter(root) == []


@pytest.mark.parametrize("damaged", damages, indirect=True)
def test_damaged_piece_stops_the_run_if_so_asked(damaged):
    root, name, model = damaged
    before = sorted(root.glob("model/**/*"))
    with pytest.raises(Damaged, match=r"store\.on_damage=recompute") as stop:
        Store(root, on_damage="stop").obtain(model)
    assert (stop.value.folder, stop.value.name) == (root / "model" / model.key, name)
    assert sorted(root.glob("model/**/*")) == before
    assert not root.joinpath("damaged").exists()


def obtain_or_stop(root, name):
    Store(root, on_damage="stop").obtain(piece(name))


def test_damage_found_by_another_process_can_be_handed_over(tmp_path):
    flip(Store(tmp_path).obtain(piece("model")) / "weights")
    with pytest.raises(Damaged, match=r"weights was altered.*store\.on_damage=recompute"):
        answer(obtain_or_stop, tmp_path, "model")


def test_damaged_parent_is_made_again_before_it_is_used(tmp_path):
    parent = piece("parent")
    flip(Store(tmp_path).obtain(parent) / "weights")
    store = Store(tmp_path, announce=lambda message: None)
    assert store.obtain(piece("child", parent)).joinpath("weights").read_text() == "child(parent())"
    flip(store.folder(parent) / "weights")
    again = Store(tmp_path, announce=lambda message: None)
    again.obtain(parent)
    assert len(list(tmp_path.glob("damaged/model/*"))) == 2


def test_piece_made_anew_by_another_process_is_verified_anew(tmp_path):
    store, model = Store(tmp_path, announce=lambda message: None), piece("model")
    store.obtain(model)
    assert answer(remove, tmp_path, "model")
    answer(obtain_plain, tmp_path, "model")
    flip(store.folder(model) / "weights")
    assert store.obtain(model).joinpath("weights").read_text() == "model()"


def test_damaged_manifest_does_not_hide_the_other_pieces(tmp_path):
    told = []
    store = Store(tmp_path, announce=told.append)
    flip(store.obtain(piece("a")) / "manifest.json")
    store.obtain(piece("b"))
    assert [manifest.key for manifest in store.pieces()] == [piece("b").key]
    assert "passed over" in told[0]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store")).obtain(piece("model", piece("parent")))


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
