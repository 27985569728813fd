"""What goes wrong while an artifact is made: nothing half made is ever in its place, and the error says where."""

import multiprocessing
import os
import resource
import tempfile
from pathlib import Path

import pytest
from store_artifacts import answer, artifact, build_nothing, build_weights, litter, obtain_plain

from modelcollapse.store import Store


def test_failed_make_leaves_its_progress_and_nothing_else(tmp_path):
    def build(context):
        context.folder.joinpath("weights").write_text("half")
        if not any(context.progress.iterdir()):
            context.progress.joinpath("epoch").write_text("1")
            raise ZeroDivisionError("diverged")

    store, model = Store(tmp_path), artifact("model", build=build)
    with pytest.raises(ZeroDivisionError, match="diverged"):
        store.obtain(model)
    assert not store.has(model)
    assert list(tmp_path.glob("model/*")) == list(tmp_path.glob("model/.*")) == []
    assert answer(obtain_plain, tmp_path, "other")
    store.obtain(model)
    assert litter(tmp_path) == []


def link_out(context):
    context.folder.joinpath("weights").symlink_to("/etc/hostname")


def link_folder(context):
    context.folder.joinpath("weights").symlink_to(context.progress, target_is_directory=True)


def build_pipe(context):
    os.mkfifo(context.folder / "weights")


def take_the_manifests_name(context):
    context.folder.joinpath("manifest.json").write_text("{}")


def tell_no_json(context):
    build_weights(context)
    context.execution["device"] = Path("cpu")


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (link_out, ValueError, "weights: only plain files"),
        (link_folder, ValueError, "weights: only plain files"),
        (build_pipe, ValueError, "weights: only plain files"),
        (build_nothing, ValueError, "fit of model"),
        (take_the_manifests_name, ValueError, r"manifest\.json"),
        (tell_no_json, TypeError, r"execution\.device"),
    ],
)
def test_an_invalid_build_is_refused(tmp_path, build, error, message):
    store, model = Store(tmp_path), artifact("model", build=build)
    with pytest.raises(error, match=message):
        store.obtain(model)
    assert not store.has(model)
    assert list(tmp_path.glob("model/.*")) == []


def test_a_artifact_that_needs_itself_is_an_error_rather_than_a_wait_without_end(tmp_path):
    store = Store(tmp_path)
    model = artifact("model", build=lambda context: store.obtain(context.artifact))
    with pytest.raises(RuntimeError, match="wait for a lock that it holds itself"):
        store.obtain(model)


def fail_on_a_full_disk(root, build):
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
    model = artifact("model", build=build)
    try:
        Store(root).obtain(model)
    except OSError as error:
        return error.filename, Store(root).has(model)


def build_large(context):
    context.folder.joinpath("weights").write_bytes(bytes(301))


@pytest.mark.parametrize(("build", "place"), [(build_weights, ".*/manifest.json"), (build_large, ".*")])
def test_full_disk_is_an_error_that_says_where(tmp_path, build, place):
    path, published = answer(fail_on_a_full_disk, tmp_path, build)
    assert Path(path).relative_to(tmp_path / "model").match(place)
    assert not published
    assert list(tmp_path.glob("model/.*")) == []


def use_read_only(root):
    if os.geteuid() == 0:
        os.setuid(65534)
    store = Store(root)
    with store.reading(artifact("made")) as folder:
        read = folder.joinpath("weights").read_text()
    errors = []
    for use in (lambda: store.obtain(artifact("absent")), lambda: store.remove(artifact("made"))):
        with pytest.raises(PermissionError) as refused:
            use()
        errors.append(refused.value.filename)
    return read, errors


def test_read_only_store_can_be_read_and_says_what_it_cannot_write():
    # Not under tmp_path: other users, as whom this runs where the tests are root's, cannot enter that.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        Store(root).obtain(artifact("made"))
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
