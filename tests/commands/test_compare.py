"""``modelcollapse compare``: in what two runs differ, and since which generation and stage their results do."""

import json
import shutil

import pytest
import torch

from code_digests.fresh_runs import FreshRuns
from code_digests.test_edited_code import Copy
from conftest import EXECUTION
from modelcollapse.commands.compare import main
from modelcollapse.record.comparison import compare_runs

GAUSSIAN = ("experiment=paper_gaussian", "generations=3", "data.rows=20", "model.replicates=4", *EXECUTION)
ESTIMATOR = "families/gaussian/estimator.py"


@pytest.fixture
def said(capsys):
    """Compare two run folders: what was printed, in lines."""

    def compare(*arguments, code=0):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        return capsys.readouterr().out.splitlines()

    return compare


def pairs(differences):
    return {each.name: (each.first, each.second) for each in differences}


def test_one_seed_twice_is_no_difference(train, said, tmp_path):
    first, second = train(*GAUSSIAN), train(*GAUSSIAN)
    assert said(first.folder, second.folder, "--exit-code") == ["no difference in generations 0 to 3"]
    # In a store of its own everything is computed again, to the same bits; with another number of threads as well.
    alone = train(*GAUSSIAN, "trainer.threads=2", store=tmp_path / "elsewhere")
    comparison = compare_runs(first.folder, alone.folder)
    assert pairs(comparison.settings) == {"trainer.threads": (1, 2)}
    assert pairs(comparison.execution) == {"threads": ("1", "2")}
    assert (comparison.recipe, comparison.result, comparison.metrics, comparison.code) == (None, None, (), ())
    assert comparison.has_equal_results
    assert not comparison.is_empty
    assert said(first.folder, alone.folder)[0] == "results are equal in generations 0 to 3"


def test_a_setting_is_named_with_what_it_changed_first(train, said):
    first = train(*GAUSSIAN)
    regime = train(*GAUSSIAN, "regime=accumulate")
    comparison = compare_runs(first.folder, regime.folder)
    settings = pairs(comparison.settings)
    assert settings["regime.name"] == ("replace", "accumulate")
    assert all(name.startswith("regime.") for name in settings)
    # All regimes share generation 0.
    assert (comparison.recipe.generation, comparison.recipe.stage) == (1, "gaussian.fit")
    assert (comparison.result.generation, comparison.result.stage) == (1, "gaussian.fit")
    assert comparison.result.details == ("states.safetensors",)
    lines = said(first.folder, regime.folder, "--exit-code", code=1)
    assert lines[0] == "recipes differ since generation 1, stage gaussian.fit (generations 1 to 3)"
    assert lines[1].startswith("  generations 1 to 3: composition ")
    assert lines[2].startswith("results differ since generation 1, stage gaussian.fit (generations 1 to 3): states")
    rows = train(*GAUSSIAN, "data.rows=21")
    assert "  generation 0: data.rows 20 -> 21" in said(first.folder, rows.folder)
    assert compare_runs(first.folder, rows.folder).result.generation == 0
    longer = train(*GAUSSIAN, "generations=5")
    comparison = compare_runs(first.folder, longer.folder)
    assert (comparison.result, comparison.metrics) == (None, ())
    assert "finished are 4 and 6 generations; compared: generations 0 to 3" in said(first.folder, longer.folder)


def test_runs_whose_store_is_gone_are_compared_by_keys_and_metrics(train, said, tmp_path):
    first, second = train(*GAUSSIAN), train(*GAUSSIAN, "regime=accumulate")
    shutil.rmtree(tmp_path / "store")
    comparison = compare_runs(first.folder, second.folder)
    assert (comparison.recipe.generation, comparison.recipe.role) == (1, "model")
    assert (comparison.result.generation, comparison.result.role) == (1, "measures")
    assert comparison.metrics[0].generation == 1
    lines = said(first.folder, second.folder)
    (lacking,) = [line for line in lines if line.startswith(f"not compared: {first.folder}")]
    assert "4 of 4 artifacts are not in" in lacking


def test_a_line_of_code_is_named_by_stage_and_file(tmp_path, said):
    """The edit changes what is drawn from generation 1 on, and so what generation 2 is fitted to."""
    runs = FreshRuns()
    try:
        copy = Copy(tmp_path, runs)
        copy.run(*GAUSSIAN, "hydra.run.dir=before")
        line = '"scatter_factor": state["factor"] @ bartlett,'
        copy.edit(
            ESTIMATOR, line, '"scatter_factor": state["factor"] @ bartlett * (1.0 + 1e-9 * (stream.generation > 0)),'
        )
        copy.run(*GAUSSIAN, "hydra.run.dir=after")
    finally:
        runs.close()
    folders = (tmp_path / "before", tmp_path / "after")
    comparison = compare_runs(*folders, store=tmp_path / "store")
    code = pairs(comparison.code)
    assert code.keys() == {"gaussian.fit", "gaussian.measure"}
    assert all(first.startswith("version 1, ") and first != second for first, second in code.values())
    assert comparison.sources == ("modelcollapse.families.gaussian.estimator",)
    assert comparison.settings == comparison.versions == comparison.execution == ()
    assert (comparison.recipe.generation, comparison.recipe.stage) == (0, "gaussian.fit")
    assert (comparison.result.generation, comparison.result.stage) == (2, "gaussian.fit")
    assert comparison.metrics[0].generation == 2
    assert 0 < comparison.metrics[0].largest < 1e-6
    lines = said(*folders, "--store", tmp_path / "store")
    assert "files of source code that differ: modelcollapse.families.gaussian.estimator" in lines


def test_the_version_of_a_library_is_named_with_what_it_changed_first(train, said, tmp_path, monkeypatch):
    first = train(*GAUSSIAN)
    installed = tmp_path / "site" / "torch-2.13.99.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.99\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(torch, "__version__", "2.13.99")
    # Another release that gives the same numbers.
    same = train(*GAUSSIAN, store=tmp_path / "same")
    # And one that rounds otherwise.
    usual = torch.linalg.cholesky
    monkeypatch.setattr(torch.linalg, "cholesky", lambda *given: usual(*given) * (1 + 1e-12))
    other = train(*GAUSSIAN, store=tmp_path / "other")
    comparison = compare_runs(first.folder, same.folder)
    assert comparison.versions[0].name == comparison.artifact_versions[0].name == "torch"
    assert comparison.artifact_versions[0].second == "2.13.99"
    assert (comparison.recipe, comparison.result) == (None, None)
    comparison = compare_runs(first.folder, other.folder)
    assert [each.name for each in comparison.versions] == ["torch"]
    assert comparison.recipe is None
    assert (comparison.result.generation, comparison.result.stage) == (0, "gaussian.fit")
    assert comparison.settings == comparison.code == comparison.sources == ()
    assert said(first.folder, other.folder)[0].startswith("results differ since generation 0, stage gaussian.fit")
    # Where the artifacts come from the store, they are those that the other version made.
    taken = train(*GAUSSIAN)
    comparison = compare_runs(first.folder, taken.folder)
    assert [each.name for each in comparison.versions] == ["torch"]
    assert comparison.artifact_versions == ()
    assert comparison.has_equal_results


def test_language_models_differ_since_the_first_set_that_another_model_wrote(finished_chain, train, tiny, said):
    first, store, _ = finished_chain
    second = train(*tiny, "decoding.beams=3", store=store)
    comparison = compare_runs(first.folder, second.folder)
    assert pairs(comparison.settings) == {"decoding.beams": (2, 3)}
    assert (comparison.recipe.generation, comparison.recipe.stage) == (0, "language_model.generate")
    assert comparison.recipe.details[0] == "generation 0 · synthesis: decoding.beams 2 -> 3"
    assert (comparison.result.generation, comparison.result.role) == (0, "synthetic")
    assert any(metric.name.startswith("synthetic/") and metric.generation == 0 for metric in comparison.metrics)
    # Generation 0's model is the same.
    assert all(metric.generation > 0 for metric in comparison.metrics if metric.name.startswith("test/"))


def test_all_of_it_as_json(train, capsys, tmp_path):
    first, second = train(*GAUSSIAN), train(*GAUSSIAN, "seed=1")
    capsys.readouterr()
    assert main([str(first.folder), str(second.folder), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["settings"] == [{"name": "seed", "first": 0, "second": 1}]
    assert content["has_equal_results"] is False
    assert content["result"]["stage"] == "gaussian.fit"
    assert main([str(first.folder), str(tmp_path / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
