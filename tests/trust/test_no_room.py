"""No room, no right to write, no memory: one message, and what was finished stays usable."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_chains import CHAINS, recorded

from conftest import run_command
from modelcollapse.commands.store import main
from modelcollapse.store import Store

MESSAGE = "there is no room left on the disk"
NOBODY = 65534
PAGE = os.sysconf("SC_PAGE_SIZE")
"""What the smallest file takes of a disk in memory."""


@contextmanager
def small_disk(place, size):
    """A file system of so many bytes that lies in memory; skips the test where this process may mount none."""
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def run(family, folder, store, *more):
    overrides = [*CHAINS[family], f"paths.store={store}", f"hydra.run.dir={folder}", *more]
    return run_command(overrides, folder.parent, folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Family -> the record of its chain, and the bytes that its store takes."""
    found = {}

    def get(family):
        if family not in found:
            place = tmp_path_factory.mktemp("undisturbed")
            finished = run(family, place / "run", place / "store")
            assert finished.code == 0, finished.err
            files = [path.stat().st_size for path in (place / "store").rglob("*") if path.is_file()]
            found[family] = recorded(finished.folder), sum(-(-size // PAGE) * PAGE for size in files)
        return found[family]

    return get


# ---- a full disk ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.2, 0.8))])
@pytest.mark.parametrize("family", ["language_model", "gaussian"])
def test_a_full_disk_is_reported_and_the_same_command_goes_on_when_there_is_room(undisturbed, tmp_path, family, share):
    record, size = undisturbed(family)
    with small_disk(tmp_path / "disk", int(size * share)) as disk:
        store = disk / "store"
        stopped = run(family, tmp_path / "run", store)
        assert stopped.code == 2, stopped.out
        assert "Traceback" not in stopped.err
        assert stopped.err.startswith(f"error: {disk}")
        assert MESSAGE in stopped.err
        assert not list(store.glob("*/.*"))
        assert not store.exists() or main(["verify", "--store", str(store)]) == 0
        finished = {manifest.key for manifest in Store(store).artifacts()}
        remount(disk, f"size={10 * size}")
        again = run(family, tmp_path / "run", store)
        assert again.code == 0, again.err
        assert recorded(again.folder) == record
        made = {line["key"] for line in again.lines("timings.jsonl") if line["computed"]}
        assert not made & finished


@pytest.mark.parametrize("size", [pytest.param("4k", marks=pytest.mark.slow), "40k"])
def test_a_full_disk_under_the_run_folder_is_reported_and_the_store_keeps_what_was_finished(tmp_path, size):
    with small_disk(tmp_path / "disk", size) as disk:
        stopped = run("gaussian", disk / "run", tmp_path / "store")
        assert stopped.code == 2, stopped.out
        assert "Traceback" not in stopped.err
        assert MESSAGE in stopped.err
        assert not (tmp_path / "store").exists() or main(["verify", "--store", str(tmp_path / "store")]) == 0
        remount(disk, "size=50M")
        assert run("gaussian", disk / "run", tmp_path / "store").code == 0


# ---- stores that cannot be written ----------------------------------------------------------------------------


def check_reading_only(folder, store, record):
    """What a store that can only be read is good for: a finished chain is shown, a longer one is refused."""
    shown = run("gaussian", folder / "shown", store)
    assert shown.code == 0, shown.err
    assert recorded(shown.folder) == record
    assert "nothing to compute" in shown.out
    for command in ("verify", "list", "tree", "gc"):
        assert main([command, "--store", str(store)]) == 0
    longer = run("gaussian", folder / "longer", store, "generations=6")
    assert longer.code == 2
    assert "Traceback" not in longer.err
    assert longer.err.startswith(f"error: {store}")
    assert "Read-only file system" in longer.err or "cannot be written" in longer.err or "denied" in longer.err


def test_a_store_on_a_read_only_disk_can_be_read(undisturbed, tmp_path):
    record, _ = undisturbed("gaussian")
    with small_disk(tmp_path / "disk", "20M") as disk:
        assert run("gaussian", tmp_path / "first", disk / "store").code == 0
        remount(disk, "ro")
        check_reading_only(tmp_path, disk / "store", record)
        remount(disk, "rw")
        assert run("gaussian", tmp_path / "longer", disk / "store", "generations=6").code == 0


def check_as_nobody(folder, store, record, answers):
    try:
        os.setuid(NOBODY)
        os.chdir(folder)
        check_reading_only(folder, store, record)
        answers.put(None)
    except BaseException as error:
        answers.put(repr(error))


def test_a_store_of_somebody_else_can_be_read(undisturbed, tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    record, _ = undisturbed("gaussian")
    place = Path("/tmp") / f"modelcollapse-trust-{os.getpid()}"
    place.mkdir(mode=0o755)
    try:
        assert run("gaussian", place / "first", place / "store").code == 0
        (place / "nobody").mkdir(mode=0o777)
        (place / "nobody").chmod(0o777)
        # Forked, so that nothing has to be imported as another user.
        forked = multiprocessing.get_context("fork")
        answers = forked.Queue()
        process = forked.Process(target=check_as_nobody, args=(place / "nobody", place / "store", record, answers))
        process.start()
        assert answers.get(timeout=300) is None
        process.join()
    finally:
        shutil.rmtree(place)


def test_a_run_folder_that_cannot_be_created_is_reported(tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("no folder")
    overrides = [*CHAINS["gaussian"], f"paths.store={tmp_path / 'store'}", f"hydra.run.dir={blocked / 'run'}"]
    stopped = run_command(overrides, tmp_path, blocked / "run")
    assert stopped.code == 2
    assert "Traceback" not in stopped.err
    assert str(blocked) in stopped.err


# ---- memory ---------------------------------------------------------------------------------------------------


def test_too_little_memory_is_reported_with_what_takes_less(train, tiny, tmp_path):
    stopped = train(*tiny, "model.architecture.feedforward_size=100000000000")
    assert stopped.code == 2
    assert "Traceback" not in stopped.err
    assert "there is not enough memory" in stopped.err
    assert "trainer.micro_batch_size" in stopped.err
    assert json.loads((stopped.folder / "chain.json").read_text())["status"] == "failed"
    assert not list((tmp_path / "store").glob("*/.*"))


LIMITED = """
import resource, sys
from modelcollapse.commands.run import train
import torch, pytorch_lightning, modelcollapse.families.gaussian.estimator, modelcollapse.families.gaussian.figures
import modelcollapse.console, modelcollapse.record
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
sys.argv = ["train.py", *sys.argv[1:]]
train()
"""


@pytest.mark.slow
def test_a_chain_that_outgrows_its_memory_keeps_what_it_finished(tmp_path):
    """A real limit on a real process, beyond what the libraries take; the same words with fewer rows finish."""
    overrides = [*CHAINS["gaussian"], "model.synthesis=samples", f"paths.store={tmp_path / 'store'}"]
    typed = [sys.executable, "-c", LIMITED, *overrides, "data.rows=20000000", "hydra.run.dir=large"]
    stopped = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert stopped.returncode == 2, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "there is not enough memory" in stopped.stderr
    typed = [sys.executable, "-c", LIMITED, *overrides, "data.rows=2000", "hydra.run.dir=small"]
    assert subprocess.run(typed, cwd=tmp_path, capture_output=True, timeout=300).returncode == 0
