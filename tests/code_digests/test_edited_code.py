"""What is made anew when code is edited: what depends on it and nothing else, beside the old."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from code_digests.edited_modules import TABLE, files, made_anew
from code_digests.fresh_runs import FreshRuns
from code_digests.lock_state import problems
from conftest import ROOT
from modelcollapse.code_digests import house, modules
from modelcollapse.commands.code_lock import locked_code
from modelcollapse.store.manifest import Manifest

CHAINS = {
    "gaussian": ("experiment=paper_gaussian", "generations=3", "data.rows=20", "model.replicates=4"),
    "language_model": (
        "generations=1",
        "data.block_length=8",
        "data.train_blocks=40",
        "data.validation_blocks=16",
        "data.test_blocks=16",
        "model.architecture.hidden_size=16",
        "model.architecture.layers=1",
        "model.architecture.heads=2",
        "model.architecture.feedforward_size=32",
        "model.training.epochs=1",
        "model.training.generation0_epochs=1",
        "decoding.new_tokens=8",
        "decoding.prompt_tokens=4",
    ),
}


def test_all_code_is_locked():
    """Where this fails: raise the version, or show that the golden value stands and lock the digest beside the others.

    ``python -m modelcollapse.commands.code_lock`` says how.
    """
    assert problems() == []


def test_an_edit_of_the_module_that_implements_something_changes_its_digest():
    """No module of members or stages bears a name that is listed as deciding no number."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    places = {place.partition(":")[0] for _, code, _ in locked_code().values() for place in code if ":" in str(place)}
    assert len(places) > 15
    assert [place for place in sorted(places) if not table[place]] == []


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_an_edit_of_a_module_changes_what_the_table_says(tmp_path, monkeypatch, every):
    """``python tests/code_digests/edited_modules.py`` writes the table anew."""
    monkeypatch.setattr(house, "FOLDER", house.FOLDER)
    monkeypatch.setattr(house, "module_files", house.module_files)
    monkeypatch.setattr(modules, "module_files", modules.module_files)
    table = json.loads(TABLE.read_text())
    assert sorted(table) == [name for name, _ in files()]
    made = made_anew(tmp_path, every)
    assert made == {name: table[name] for name in sorted(table)[::every]}


class Copy:
    """A copy of the project that is edited and run."""

    def __init__(self, folder, runs):
        self.folder, self.runs = folder, runs
        for part in ("src", "conf", "train.py"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)

    def edit(self, module, old, new):
        """Replace a piece of text that stands once in a module; returns what undoes it."""
        path = self.folder / "src" / "modelcollapse" / module
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        return lambda: path.write_text(text)

    def run(self, *overrides):
        """Run a chain; the labels of what it made, in order."""
        before = self.made()
        status, said = self.runs.run(
            self.folder, [*overrides, "tracking=none", "trainer.threads=1", "trainer.accelerator=cpu"]
        )
        assert status == 0, said
        after = self.made()
        assert before.items() <= after.items()
        return sorted(after[key] for key in after.keys() - before.keys())

    def made(self):
        """Key -> label of everything in the store."""
        found = {}
        for path in (self.folder / "store").glob("*/*/manifest.json"):
            manifest = json.loads(path.read_text())
            found[manifest["key"]] = manifest["label"]
        return found


@pytest.fixture(scope="module")
def runs():
    server = FreshRuns()
    yield server
    server.close()


@pytest.fixture
def copy(tmp_path, runs):
    return Copy(tmp_path, runs)


FITS = ["generation 0", "generation 0 · measuring", "generations 1 to 3", "generations 1 to 3 · measuring"]


def test_an_edited_estimator_is_fitted_anew_beside_the_old_and_undone_nothing_is_computed(copy):
    module, line = "families/gaussian/estimator.py", "        rows = data.shape[1]\n"
    assert copy.run(*CHAINS["gaussian"]) == FITS
    # A comment, a docstring and a statement that only logs mean the same.
    undo = copy.edit(module, line, f'{line}        print("fitting")  # said\n')
    assert copy.run(*CHAINS["gaussian"]) == []
    undo()
    undo = copy.edit(module, line, f"{line}        rows = rows + 0\n")
    assert copy.run(*CHAINS["gaussian"]) == FITS
    undo()
    assert copy.run(*CHAINS["gaussian"]) == []
    # How it measures, and how it is shown.
    undo = copy.edit(module, "        trace = factor.square()", "        trace = 1 * factor.square()")
    assert copy.run(*CHAINS["gaussian"]) == ["generation 0 · measuring", "generations 1 to 3 · measuring"]
    undo()
    copy.edit("record/wandb_view.py", "MOST_ROWS = 500", "MOST_ROWS = 400")
    assert copy.run(*CHAINS["gaussian"]) == []


@pytest.mark.slow
def test_an_edited_fit_and_an_edited_metric_of_a_language_model(copy):
    overrides = CHAINS["language_model"]
    everything = copy.run(*overrides)
    undo = copy.edit("families/language_model/module.py", "return loss * batch", "return 1 * loss * batch")
    fitted = copy.run(*overrides)
    # All but what is taken in depends on the first fit.
    assert fitted == [label for label in everything if label not in ("real data", "tokenizer")]
    undo()
    assert copy.run(*overrides) == []
    # A metric is a function of what is stored.
    copy.edit("metrics/diversity.py", "import numpy as np\n", "import numpy as np\n\n_UNUSED = 0\n")
    assert copy.run(*overrides) == []


@pytest.mark.slow
def test_a_file_that_changes_under_a_run_stops_it(copy):
    script = copy.folder / "changed.py"
    script.write_text(
        "from pathlib import Path\n"
        "from modelcollapse.code_digests import house\n"
        "house.snapshot()\n"
        "path = house.FOLDER / 'families' / 'gaussian' / 'estimator.py'\n"
        "path.write_text(path.read_text() + '\\n_UNUSED = 0\\n')\n"
        "import modelcollapse.families.gaussian.estimator\n"
        "house.verify_sources()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(copy.folder / "src")}
    environment.pop(house.SNAPSHOT_VARIABLE, None)
    finished = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert finished.returncode == 1
    assert "SourceChanged" in finished.stderr
    assert "modelcollapse.families.gaussian.estimator" in finished.stderr


@pytest.mark.slow
def test_much_finished_work_is_not_done_again_unasked(copy):
    assert copy.run(*CHAINS["gaussian"]) == FITS
    for path in Path(copy.folder / "store").glob("model/*/manifest.json"):
        # As if each fit had taken an hour.
        path.chmod(0o644)
        replace(Manifest.read(path.parent), seconds=3600.0).write(path.parent)
    undo = copy.edit(
        "families/gaussian/estimator.py", "        rows = data.shape[1]\n", "        rows = 0 + data.shape[1]\n"
    )
    with pytest.raises(AssertionError, match=r"(?s)stages/gaussian\.fit.*2 h.*store\.redo=true"):
        copy.run(*CHAINS["gaussian"])
    assert copy.run(*CHAINS["gaussian"], "store.redo=true") == FITS
    undo()
    assert copy.run(*CHAINS["gaussian"]) == []
