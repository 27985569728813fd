"""Chains from Python: what a call gives, what it raises, and that the process is as it was."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import types
import warnings
from pathlib import Path

import hydra
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import modelcollapse as mc
from modelcollapse.record import read_error
from modelcollapse.record.identity import View
from test_api import RingSettings

SMALL = {
    "tracking": "none",
    "generations": 3,
    "data": {"rows": 20},
    "model": {"replicates": 2},
    "trainer": {"threads": 1, "progress": False},
}
GAUSSIAN = "experiment=paper_gaussian"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder of its own, whose store all calls of a test share."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELCOLLAPSE_STORE", str(tmp_path / "store"))
    return tmp_path


SET_BY_IMPORTS = ("TORCHINDUCTOR_", "PYTORCH_")


def state_of_process():
    return {
        "environment": {name: value for name, value in os.environ.items() if not name.startswith(SET_BY_IMPORTS)},
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "garbage collection": (gc.get_threshold(), gc.get_freeze_count() > 0),
        "threads": (torch.get_num_threads(), [thread.name for thread in threading.enumerate()]),
        "arguments": (list(sys.argv), Path.cwd(), sys.unraisablehook),
        "logging": (logging.getLogger("modelcollapse").level, logging.getLogger("modelcollapse").handlers[:]),
        "random": (torch.get_rng_state().tolist(),),
    }


def test_a_run_gives_its_record_and_leaves_the_process_as_it_was(here):
    torch.set_num_threads(2)
    before = state_of_process()
    run = mc.run(GAUSSIAN, seed=3, **SMALL)
    assert state_of_process() == before
    assert run.status == "finished"
    assert run.generations["generation"].tolist() == [0, 1, 2, 3]
    assert run.generations["variance/mean"].notna().all()
    assert run.folder.parent.parent == here / "outputs"
    assert (run.settings.seed, run.settings.model.replicates, run.settings.regime.name) == (3, 2, "replace")
    assert isinstance(run.tables["gaussian"], pd.DataFrame)
    assert "risk_and_variance" in run.figures
    picture, size = run.figures["risk_and_variance"]._repr_png_()
    assert picture == (run.folder / "figures" / "risk_and_variance.png").read_bytes()
    assert 300 < size["width"] < 1000
    assert run.model(2)["mean"].shape == (2, 1)
    assert run.synthetic(2).shape == (2, 20, 1)
    assert run.identity["command_line"].startswith("modelcollapse.run('experiment=paper_gaussian', 'seed=3'")
    assert "regime replace, seed 3" in run._repr_html_()


def test_values_of_each_replicate_are_a_table(here):
    run = mc.run(GAUSSIAN, **{**SMALL, "model": {"replicates": 5, "segment_length": 2}, "generations": 4})
    table = run.replicates
    assert table[["generation", "replicate"]].to_numpy().tolist() == [[t, r] for t in range(5) for r in range(5)]
    by_generation = table.groupby("generation")["variance"]
    assert by_generation.mean().to_numpy() == pytest.approx(run.generations["variance/mean"].to_numpy())
    assert by_generation.std().to_numpy() == pytest.approx(run.generations["variance/standard_deviation"].to_numpy())


def test_the_same_call_again_computes_nothing_and_gives_the_same(here):
    first, again = (mc.run(GAUSSIAN, **SMALL) for _ in range(2))
    assert (first.computed, again.computed) == (4, 0)
    assert first.folder != again.folder
    pd.testing.assert_frame_equal(first.generations, again.generations)
    opened = mc.load(again.folder)
    pd.testing.assert_frame_equal(opened.generations, again.generations)


OF_A_RUN = {".modelcollapse.json", "chain.json", "sources.json", "timings.jsonl"}


def test_records_of_one_chain_in_two_places_are_equal_but_for_the_paths_in_the_configuration(here):
    """docs/record.md promises it, and names what is of a run."""
    one, other = (mc.run(GAUSSIAN, **SMALL, paths={"store": name}) for name in ("first", "second"))
    names = {path.name for path in one.folder.iterdir() if path.is_file()} - OF_A_RUN
    different = {name for name in names if (one.folder / name).read_bytes() != (other.folder / name).read_bytes()}
    assert len(names) > 5
    assert different == {"config.yaml"}
    assert {**one.config, "paths": None} == {**other.config, "paths": None}


def test_samples_that_the_next_generation_saw_are_drawn_again(here):
    run = mc.run(GAUSSIAN, **{**SMALL, "model": {"replicates": 2, "synthesis": "samples"}})
    torch.testing.assert_close(run.synthetic(1).mean(dim=1), run.model(2)["mean"])


def test_what_is_not_there_is_said(here):
    run = mc.run(GAUSSIAN, folder="run", **SMALL)
    assert run.folder == here / "run"
    with pytest.raises(mc.UserError, match="generation 7: there is none; there are: 0, 1, 2, 3"):
        run.model(7)
    with pytest.raises(mc.UserError, match="no artifact 'scores'; there are: measures, model"):
        run.artifact(1, "scores")
    with pytest.raises(KeyError, match="no such table; there are: gaussian"):
        run.tables["gausian"]
    with pytest.raises(KeyError, match="no such figure; there are: estimation_errors"):
        run.figures["risk"]
    with pytest.raises(mc.UserError, match=r"elsewhere\. store\.keep=ends keeps .* Run\(folder, store=\.\.\.\)"):
        mc.Run("run", store="elsewhere").model(1)
    with pytest.raises(mc.UserError, match="is no run folder, which holds"):
        mc.load(here)


def test_mistakes_are_raised_all_at_once_and_leave_nothing(here):
    with pytest.raises(mc.SettingsError) as raised:
        mc.run(GAUSSIAN, "seed=x", data={"rows": 0})
    assert [problem.split(":")[0] for problem in raised.value.problems] == ["seed", "data.rows"]
    with pytest.raises(mc.SettingsError, match=r"regime=replase: there is no such regime \(did you mean replace\?\)"):
        mc.run(regime="replase")
    with pytest.raises(mc.SettingsError, match=r"sead: no such setting \(did you mean seed\?\)"):
        mc.run(sead=1)
    with pytest.raises(mc.SettingsError) as raised:
        mc.run("seed=1,2", "--cfg=job", plan=True)
    assert len(raised.value.problems) == 3
    with pytest.raises(mc.SettingsError, match="hydra/launcher=joblib: chains run in processes of this machine"):
        mc.sweep("hydra/launcher=joblib")
    assert list(here.iterdir()) == []


def test_a_program_with_hydra_of_its_own_goes_on_with_it(here):
    (here / "mine").mkdir()
    (here / "mine" / "own.yaml").write_text("optimizer:\n  _target_: torch.optim.Adam\n")
    with hydra.initialize_config_dir(str(here / "mine"), version_base="1.2"):
        own = GlobalHydra.instance().hydra
        mc.run(GAUSSIAN, **SMALL)
        assert GlobalHydra.instance().hydra is own
        assert hydra.compose("own") == {"optimizer": {"_target_": "torch.optim.Adam"}}
    with pytest.raises(mc.SettingsError, match="settings call no code"):
        mc.run("+data._target_=os.system")


def test_a_run_inside_an_event_loop(here):
    async def cell():
        return mc.run(GAUSSIAN, **SMALL)

    assert asyncio.run(cell()).status == "finished"


INTERRUPTIONS = []


@mc.logger("test_interrupting", version=1)
class Interrupting(View):
    def generation(self, generation, metrics, **more):
        if generation == 1 and not INTERRUPTIONS:
            INTERRUPTIONS.append(generation)
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_call_keeps_what_was_finished_and_goes_on(here):
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="what was finished is kept"):
        mc.run(GAUSSIAN, "logger=[test_interrupting]", folder="run", **SMALL)
    assert signal.getsignal(signal.SIGINT) is usual
    assert mc.load("run").status == "interrupted"
    again = mc.run(GAUSSIAN, "logger=[test_interrupting]", folder="run", **SMALL)
    assert (again.status, again.computed) == ("finished", 0)


@mc.dataset("test_failing", "samples", RingSettings)
class Failing:
    def __init__(self, settings):
        self._radius = settings.radius

    def draw(self, replicates, rows, stream):
        if stream.seed == 1:
            raise ZeroDivisionError("the ring is gone")
        return torch.ones(replicates, rows, 2) * torch.arange(rows)[:, None]


def test_an_error_of_registered_code_is_raised_as_it_is_with_the_stage(here):
    with pytest.raises(ZeroDivisionError, match="the ring is gone") as raised:
        mc.run("model=gaussian_mixture", "decoding=none", "data=test_failing", seed=1, folder="run", **SMALL)
    assert raised.value.__notes__ == ["while computing generation 0"]
    assert read_error(Path("run")).type == "ZeroDivisionError"
    assert mc.load("run").state == "failed, 0 generations: ZeroDivisionError: the ring is gone"


def test_a_failed_chain_of_a_sweep_stops_no_other(here):
    with pytest.raises(mc.ChainsFailed, match=r"1 of 3 chains failed:\n  1  seed=1: ZeroDivisionError") as raised:
        mc.sweep("model=gaussian_mixture", "decoding=none", "data=test_failing", seed=range(3), **SMALL)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    chains = raised.value.sweep.chains
    assert chains["state"].tolist() == ["finished", "failed", "finished"]
    assert chains["generations"].tolist() == [4, 0, 4]
    assert "mean_error/mean" in set(raised.value.sweep.statistics["metric"])


def test_a_sweep_gives_statistics_and_a_report_and_leaves_the_process_as_it_was(here):
    before = state_of_process()
    sweep = mc.sweep(GAUSSIAN, "data.rows=20", regime=["replace", "accumulate"], seed=range(2), **SMALL)
    assert state_of_process() == before
    assert sweep.folder.parent.parent == here / "multirun"
    assert [run.settings.regime.name for run in sweep.runs] == ["replace"] * 2 + ["accumulate"] * 2
    assert list(sweep.statistics.columns) == ["metric", "generation", "group", "mean", "low", "high", "n"]
    assert set(sweep.statistics["group"]) == {"replace", "accumulate"}
    variance = sweep.statistics.query("metric == 'variance/mean'")
    # Replicates of both seeds.
    assert set(variance["n"]) == {4}
    assert (variance["mean"] > 0).all()
    assert sweep.report._repr_html_().startswith("<iframe srcdoc=")
    assert "risk_and_variance" in sweep.figures
    assert len(mc.load(sweep.folder).runs) == 4


def test_mistakes_in_a_sweep_are_raised_with_the_points_that_have_them(here):
    with pytest.raises(mc.SettingsError) as raised:
        mc.sweep(GAUSSIAN, "data.rows=0", regime=["replace", "accumulate"], seed=[0, "x"])
    assert [problem.split(":")[0] for problem in raised.value.problems] == ["data.rows", "seed"]
    assert "\n  at regime=replace seed=x; regime=accumulate seed=x" in raised.value.problems[1]
    assert list(here.iterdir()) == []


def test_a_plan_is_an_object_and_computes_nothing(here):
    plan = mc.plan(GAUSSIAN, "data.rows=20", seed=range(2), **SMALL)
    assert (plan.missing, plan.seconds) == (8, None)
    assert plan.artifacts["state"].unique().tolist() == ["to compute"]
    assert "8 artifacts to compute" in repr(plan)
    assert list(here.iterdir()) == []
    mc.run(GAUSSIAN, **SMALL)
    plan = mc.plan(GAUSSIAN, **SMALL)
    assert (plan.missing, plan.seconds, plan.bytes) == (0, 0.0, 0)
    assert "<pre" in plan._repr_html_()
    assert len(mc.plan(GAUSSIAN, "data.rows=20", grid=True, **SMALL).artifacts) == 4


MODULE = """
import modelcollapse as mc


@mc.regime("test_from_file", version=1)
class FromFile:
    def compose(self, generation):
        return [mc.Draw.latest()]
"""


def test_several_processes_import_the_file_of_what_is_registered_here(here, monkeypatch):
    (here / "library" / "deep").mkdir(parents=True)
    (here / "library" / "deep" / "__init__.py").write_text("")
    (here / "library" / "deep" / "own_regimes.py").write_text(MODULE)
    monkeypatch.syspath_prepend(here / "library")
    import deep.own_regimes  # noqa: F401

    sweep = mc.sweep(GAUSSIAN, "data.rows=20", "regime=test_from_file", seed=range(2), jobs=2, **SMALL)
    assert sweep.chains["state"].tolist() == ["finished", "finished"]
    (extension,) = sweep.runs[1].identity["extensions"]
    assert extension["origin"] == str(here / "library" / "deep" / "own_regimes.py")
    # Found in this process: the same code under another process has the same key.
    assert mc.run(GAUSSIAN, "data.rows=20", "regime=test_from_file", seed=1, **SMALL).computed == 0


def test_what_stands_in_no_file_is_refused_where_there_are_several_processes(here, monkeypatch):
    cell = types.ModuleType("test_cell")
    monkeypatch.setitem(sys.modules, "test_cell", cell)
    exec(MODULE.replace("test_from_file", "test_of_a_cell"), cell.__dict__)
    with pytest.raises(mc.SettingsError, match="jobs=2: regime 'test_of_a_cell' is defined in this notebook"):
        mc.sweep(GAUSSIAN, "data.rows=20", "regime=test_of_a_cell", jobs=2, **SMALL)
    assert list(here.iterdir()) == []


def test_models_and_texts_of_a_language_model(finished_chain):
    finished, store, _ = finished_chain
    run = mc.Run(finished.folder, store)
    model, texts = run.model(2), run.synthetic(2)
    assert (type(model).__name__, model.training) == ("OPTForCausalLM", False)
    assert texts.tokens.shape == (60, 8)
    assert texts[0] == texts.tokenizer.decode(texts.tokens[0].tolist())
    assert len(texts[:3]) == 3
    assert repr(texts).startswith("60 texts of 8 tokens:\n  '")
    assert "perplexities" in run.tables
    assert run.settings.model.name == "OPT tiny"


@mc.metric("test_range", label="range", of="replicates", version=1)
def range_of_means(states):
    return states["mean"].abs().max(dim=-1).values


def test_finished_runs_are_measured_compared_and_exported(here):
    run, other = mc.run(GAUSSIAN, folder="run", **SMALL), mc.run(GAUSSIAN, folder="other", seed=4, **SMALL)
    assert mc.measure(run, metrics={"add": ["test_range"]}) is run
    assert run.generations["test_range/mean"].notna().all()
    assert run.identity["measured"] == ["modelcollapse.measure('metrics.add=[test_range]')"]
    with pytest.raises(mc.UserError, match=r"metrics\.add\[1\]: 'test_rang' is no metric"):
        mc.measure("run", "metrics.add=[test_rang]")
    comparison = mc.compare(run, "other")
    assert ("seed", 0, 4) in [(each.name, each.first, each.second) for each in comparison.settings]
    assert "recipes differ since generation 0" in repr(comparison)
    assert "<pre" in comparison._repr_html_()
    mc.export(other, 3, "weights")
    exported = {path.name for path in (here / "weights").iterdir()}
    assert "README.md" in exported
    assert any(name.endswith(".safetensors") for name in exported)
