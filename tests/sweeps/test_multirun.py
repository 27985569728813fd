"""Hydra's own multirun: objectives that come back to a sweeper, searches, and the same chains as sweep.py."""

import json
import math

import pytest
from omegaconf import OmegaConf

from conftest import run_command
from modelcollapse.chain import chain_id
from modelcollapse.commands import run
from modelcollapse.config.objective import objective_of
from modelcollapse.sweeps.points import read_grid

CHAIN = (
    "experiment=paper_gaussian",
    "generations=2",
    "data.rows=20",
    "model.replicates=20",
    "tracking=none",
    "trainer.progress=false",
)
SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=1")


@pytest.fixture
def place(tmp_path):
    """Run train.py or sweep.py in a folder with one store; the answer, with the folder of the sweep."""

    def typed(*overrides, name="sweep", configuration="train"):
        folder = tmp_path / name
        places = (f"paths.store={tmp_path / 'store'}", f"hydra.sweep.dir={folder}", f"hydra.run.dir={tmp_path / 'run'}")
        return run_command([*CHAIN, *places, *overrides], tmp_path, folder, configuration)

    return typed


def last_metrics(folder):
    return json.loads((folder / "generations.jsonl").read_text().splitlines()[-1])


def test_a_search_of_six_trials_ends_with_the_best_value(place):
    found = place(*SEARCH, "hydra.sweeper.n_trials=6", "data.rows=int(interval(10,400))", "objective=variance/median")
    assert found.code == 0, found.err
    result = OmegaConf.load(found.folder / "optimization_results.yaml")
    trials = [found.folder / str(number) for number in range(6)]
    values = [last_metrics(trial)["variance/median"] for trial in trials]
    rows = [OmegaConf.load(trial / "config.yaml").data.rows for trial in trials]
    assert len(set(rows)) == 6, "the experiment's own grid is no dimension of the search"
    assert result.best_value == min(values)
    assert result.best_params == {"data.rows": rows[values.index(min(values))]}
    assert f"best    data.rows={rows[values.index(min(values))]}: {min(values):.6g}" in found.out
    assert [f"objective  variance/median: {value:.6g}" in found.out for value in values] == [True] * 6


def test_the_basic_sweeper_gets_the_same_objectives_and_sweep_py_has_the_same_chains(place, monkeypatch):
    returned, job = [], run._job

    def noted(config):
        returned.append(job(config))
        return returned[-1]

    monkeypatch.setattr(run, "_job", noted)
    overrides = ("seed=0,1", "objective=variance/median")
    found = place("-m", *overrides)
    assert found.code == 0, found.err
    assert returned == [last_metrics(found.folder / str(number))["variance/median"] for number in range(2)]
    points = read_grid([*CHAIN, *overrides]).points
    ids = [json.loads((found.folder / str(number) / "chain.json").read_text())["id"] for number in range(2)]
    assert ids == [chain_id(point.settings) for point in points]


@pytest.mark.slow
def test_a_trial_that_fails_or_is_not_finite_is_a_failed_trial_and_the_search_goes_on(place):
    words = ("hydra.sweeper.n_trials=4", "hydra.sweeper.max_failure_rate=1.0", "hydra.sweeper.sampler.seed=2")
    # The standard deviation of one replicate is none. With this seed there are trials of all kinds; the first values
    # are those of the trial that is read beforehand.
    dimensions = ("model.replicates=1,20", "data.rows=20,0", "objective=variance/standard_deviation")
    found = place(*SEARCH, *words, *dimensions)
    assert found.code == 0, found.err
    assert "data.rows: 0 is not allowed" in found.err
    assert "objective  variance/standard_deviation: not a finite number" in found.out
    best = OmegaConf.load(found.folder / "optimization_results.yaml").best_params
    assert best == {"model.replicates": 20, "data.rows": 20}


def test_a_search_whose_trials_all_fail_says_so(place, tmp_path):
    words = ("hydra.sweeper.n_trials=1", "model.replicates=1", "data.rows=choice(20)")
    found = place(*SEARCH, *words, "objective=variance/standard_deviation")
    assert found.code == 2
    assert "no trial ended with a value of the objective" in found.err


def test_a_study_that_is_stored_goes_on(place, tmp_path):
    words = (f"hydra.sweeper.storage=sqlite:///{tmp_path / 'search.db'}", "hydra.sweeper.study_name=rows")
    words = (*SEARCH, *words, "hydra.sweeper.n_trials=1", "data.rows=range(20,60)")
    assert place(*words).code == place(*words, name="again").code == 0
    import optuna

    study = optuna.load_study(study_name="rows", storage=f"sqlite:///{tmp_path / 'search.db'}")
    assert len(study.trials) == 2


REFUSED = {
    "all numbers for a whole one": (
        (*SEARCH, "data.rows=interval(10,20)"),
        "interval(10,20) is one of all numbers: type 'data.rows=int(interval(10,20))', or range(LOW,HIGH)",
    ),
    "a plan of a search": ((*SEARCH, "data.rows=range(10,20)", "plan=true"), "the plan of one chain"),
    "a misspelt objective of a search": (
        (*SEARCH, "data.rows=range(10,20)", "objective=varience/median", "hydra.sweeper.max_failure_rate=1.0"),
        "1 problem in a trial of the search:",
    ),
    "a misspelt objective": (("objective=varience/median",), "did you mean variance/median?"),
    "an objective of another family": (("objective=test/perplexity", "plan=true"), "'test/perplexity' is no metric"),
    "a search of another family": (("-m", "hparams_search=optuna"), "model.training"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(place, tmp_path, name):
    overrides, message = REFUSED[name]
    found = place(*overrides)
    assert found.code == 2
    assert message in found.err
    assert "Traceback" not in found.err
    assert not list(tmp_path.iterdir())


def test_a_search_that_is_refused_leaves_no_folder_named_by_the_time(tmp_path):
    refused = run_command([*CHAIN, *SEARCH, "data.rows=interval(10,20)"], tmp_path, tmp_path)
    assert refused.code == 2
    assert not list(tmp_path.iterdir())


def test_a_grid_refuses_what_a_search_takes(place):
    found = place("data.rows=interval(10,20)", configuration="sweep")
    assert found.code == 2
    assert "train.py -m hydra/sweeper=optuna 'data.rows=interval(10,20)'" in found.err
    assert "train.py -m hydra/sweeper=optuna" in place("hydra/sweeper=optuna", configuration="sweep").err


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_plan_of_a_multirun_writes_nothing(place, tmp_path, launcher):
    found = place("-m", "seed=0,1", "plan=true", f"hydra/launcher={launcher}")
    assert found.code == 0, found.err
    assert not list(tmp_path.iterdir())


def test_the_shipped_search_composes_with_a_language_model(tiny, tmp_path):
    from modelcollapse.sweeps.multirun import read_multirun

    search = read_multirun([*tiny, "hparams_search=optuna"])
    assert search.optimises
    dimensions = [word.partition("=")[0] for word in search.overrides if word.startswith("model.training.")]
    assert {"model.training.learning_rate", "model.training.batch_size"} <= {*dimensions}


def test_an_objective_is_finite_or_none():
    class Family:
        headline = (("a/mean", "a"),)

    assert objective_of(None, Family(), {"a/mean": 2}) == ("a/mean", 2.0)
    assert objective_of("b", Family(), {"b": math.inf}) == ("b", None)
    assert objective_of(None, Family(), {}) == ("a/mean", None)


# ---- the folder .hydra ----------------------------------------------------------------------------------------------


def test_the_folder_of_hydra_is_written_once_settings_are_accepted(place, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "a secret of the environment")
    assert place("seed=3", "hydra.job.name=mine").code == 0
    folder = tmp_path / "run" / ".hydra"
    config, of_hydra, overrides = (OmegaConf.load(folder / f"{name}.yaml") for name in ("config", "hydra", "overrides"))
    assert config.seed == 3
    assert OmegaConf.to_container(config, resolve=False)["name"] == "paper_gaussian"
    assert of_hydra.hydra.job.name == "mine"
    assert of_hydra.hydra.overrides.task == overrides
    assert "seed=3" in overrides
    # What was typed is what runs again.
    again = run_command([*overrides, f"hydra.run.dir={tmp_path / 'again'}"], tmp_path, tmp_path / "again")
    assert "nothing to compute" in again.out


@pytest.mark.parametrize("place_of_secret", ["hydra.run.dir", "hydra.job.name", "hydra.sweep.dir", "data.name"])
def test_a_secret_in_settings_of_hydra_is_refused_and_written_nowhere(place, tmp_path, monkeypatch, place_of_secret):
    monkeypatch.setenv("MY_API_KEY", "a-secret-of-the-environment")
    for flags, configuration in (([], "train"), (["-m"], "train"), ([], "sweep")):
        found = place(*flags, f"{place_of_secret}=x-a-secret-of-the-environment", configuration=configuration)
        assert found.code == 2
        assert f"{place_of_secret}: holds the secret MY_API_KEY" in found.err
        assert "a-secret" not in found.err
    assert not list(tmp_path.iterdir())


def test_hydra_writes_no_folder_where_that_is_switched_off(place, tmp_path):
    assert place("hydra.output_subdir=null").code == 0
    assert not (tmp_path / "run" / ".hydra").exists()
    assert (tmp_path / "run" / "config.yaml").is_file()
