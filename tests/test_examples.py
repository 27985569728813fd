"""The package of ``examples``: its members are chosen by name, killed and gone on with; nothing stays when it goes."""

import ast
import json
import os
import signal
import subprocess
import sys
from unittest.mock import ANY

import pytest

import modelcollapse
from conftest import DETERMINISTIC, EXECUTION, TINY
from examples_installed import COMPOSING, KILLED, LOCKING, Installed, keys
from modelcollapse.record import read_lines
from processes import wait_for

ESTIMATOR = (
    *(*EXECUTION, "experiment=waiting_times", "model.replicates=5", "model.segment_length=4", "data.rows=20"),
    *("data.shape=2", "generations=8", "paths.store=store"),
)
"""Family, data and regime by rule."""
LANGUAGE_MODEL = (
    *(*TINY, "decoding.kind=sample", "decoding.beams=1", "selection=top", "selection/scorer=fewest_repeats"),
    *("selection.oversampling=1.5", "model.training.loss={name: poly, epsilon: 0.5}", "paths.store=store"),
    *("merge=bounded_update", "metrics.add=[most_frequent_token]", "logger=[markdown_table]"),
)
"""Scorer, loss, merge, metric and logger."""
BUILT_IN = [
    ["experiment=quickstart", "selection=top", "metrics.set=full"],
    ["experiment=paper_gaussian"],
    ["experiment=paper_gmm", "generations=500"],
    ["experiment=paper_discrete"],
    ["experiment=paper_vae", "data=digits"],
]


@pytest.fixture(scope="module")
def installed(repository, tmp_path_factory):
    return Installed(repository / "examples", tmp_path_factory.mktemp("examples"))


def other_store(overrides):
    return [word.replace("paths.store=store", "paths.store=unbroken") for word in overrides]


def files_of(folder):
    names = [*DETERMINISTIC, "generations.md"]
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def test_composing_with_the_examples_installed_imports_nothing_heavy(installed):
    *composed, heavy = installed.start(COMPOSING, "--cfg", "job", *ESTIMATOR).splitlines()
    assert "  kind: gamma_samples" in composed
    assert ast.literal_eval(heavy) == []


def test_a_lock_that_the_package_ships_names_code_by_the_digest_first_locked(installed):
    """So a faster version of the same numbers finds the work of before."""

    def locking(*options):
        return tuple(json.loads(installed.start(LOCKING, json.dumps(options)).splitlines()[-1]))

    lock, poly = (installed.site / "collapse_examples" / name for name in ("code.lock.json", "poly.py"))
    assert locking("--lock") == (0, own := json.loads(lock.read_text())["losses/poly"]["digests"][0])
    text = poly.read_text()
    poly.write_text(text.replace("return epsilon *", "return 1.0 * epsilon *"))
    code, edited = locking()
    assert (code, edited != own) == (1, True)
    locking("--equal=losses/poly")
    assert locking() == (0, own)
    assert json.loads(lock.read_text())["losses/poly"]["digests"] == [own, edited]
    poly.write_text(text)
    lock.unlink()


def test_members_run_by_name_go_on_after_a_kill_and_leave_no_key_changed(installed, repository):
    folder = installed.folder
    for name, overrides, renames in (("estimator", ESTIMATOR, 4), ("language_model", LANGUAGE_MODEL, 25)):
        installed.start(KILLED, renames, *overrides, f"hydra.run.dir={name}_killed", code=-signal.SIGKILL)
        assert json.loads((folder / f"{name}_killed" / "chain.json").read_text())["status"] != "finished"
    said, keys_with_examples = installed.session(
        ("train", "estimator", ESTIMATOR),
        ("train", "estimator_unbroken", other_store(ESTIMATOR)),
        ("train", "language_model", LANGUAGE_MODEL),
        ("train", "language_model_unbroken", other_store(LANGUAGE_MODEL)),
        ("sweep", "grid", [*ESTIMATOR, "regime.k=2,3"]),
        declared=BUILT_IN,
    )
    assert "2 of 2 chains finished" in said
    for name in ("estimator", "language_model"):
        files = files_of(folder / name)
        assert len(files) > 3
        assert files == files_of(folder / f"{name}_unbroken"), name

    installed.remove()
    assert [keys(overrides) for overrides in BUILT_IN] == keys_with_examples
    # What ran is read without the package that it ran with.
    table = modelcollapse.results(folder / "grid")
    assert len(table) == 2 * 9
    assert table["relative_mean/mean"].between(0.2, 5).all()
    table = modelcollapse.results(folder / "language_model")
    assert table["synthetic/most_frequent_token"].between(0, 1, inclusive="neither").all()


@pytest.mark.slow
def test_the_shortest_script_sweeps_with_joblib_goes_on_after_a_kill_and_changes_no_key(repository, tmp_path, train):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    script = [sys.executable, repository / "examples" / "shortest.py", "--sweep", *TINY, "generations=1"]
    script += ["seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "metrics.add=[types_per_token]"]
    script += ["paths.store=store", "hydra.sweep.dir=grid"]
    killed = subprocess.Popen(script, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL)
    wait_for(lambda: list((tmp_path / "store").glob("model/*/*")), "no model was finished")
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    finished = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "2 of 2 chains finished" in finished.stdout
    table = modelcollapse.results(tmp_path / "grid")
    assert len(table) == 2 * 2
    assert table["synthetic/types_per_token"].between(0, 1).all()
    # The same chain without the script: there is nothing to compute, and from nothing it has the same numbers.
    assert "nothing to compute" in train(*TINY, "generations=1", store=tmp_path / "store").out
    unbroken = train(*TINY, "generations=1", store=tmp_path / "unbroken").lines()
    with_metric = read_lines(tmp_path / "grid" / "0" / "generations.jsonl")
    assert [{**line, "synthetic/types_per_token": ANY} for line in unbroken] == with_metric
