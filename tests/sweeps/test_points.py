"""Expanding overrides into the points of a grid, and errors of invalid points."""

from dataclasses import replace

import pytest

from modelcollapse.errors import UserError
from modelcollapse.sweeps.points import read_grid
from modelcollapse.sweeps.resources import expected_memory
from modelcollapse.sweeps.runner import check_launcher, jobs_of, threads_of


def varied(*words):
    return [" ".join(point.varied) for point in read_grid(words).points]


def test_seeds_vary_fastest_wherever_they_are_named():
    expected = ["regime=replace seed=0", "regime=replace seed=1", "regime=preserve seed=0", "regime=preserve seed=1"]
    assert varied("seed=0,1", "regime=replace,preserve") == expected
    assert varied("regime=replace,preserve", "seed=range(0,2)") == expected


def test_the_papers_grid_is_whole_and_can_be_changed():
    grid = read_grid(["experiment=paper_opt"])
    assert len(grid.points) == 2 * 2 * 5
    epochs = {point.settings.regime.name: point.settings.model.training.epochs for point in grid.points}
    assert epochs == {"replace": 5, "preserve": 10}
    assert {point.settings.model.training.generation0_epochs for point in grid.points} == {5}
    words = ("seed=range(0,10)", "regime=replace,preserve,accumulate", "decoding.repetition_penalty=1.0")
    changed = read_grid(["experiment=paper_opt", *words]).points
    assert len(changed) == 30
    assert {point.settings.decoding.repetition_penalty for point in changed} == {1.0}


def test_the_papers_grid_is_one_chain_for_train(compose_values):
    values = compose_values("experiment=paper_opt")
    assert (values["regime"]["name"], values["seed"], values["model"]["training"]["epochs"]) == ("replace", 0, 5)
    assert compose_values("experiment=paper_opt", "regime=preserve")["model"]["training"]["epochs"] == 10
    own = compose_values("experiment=paper_opt", "regime=preserve", "model.training.epochs=3")
    assert own["model"]["training"]["epochs"] == 3


@pytest.mark.parametrize(
    ("experiment", "count"),
    [("paper_gaussian", 4), ("paper_gmm", 5), ("paper_discrete", 4), ("paper_vae", 5), ("quickstart", 3)],
)
def test_every_experiment_brings_its_grid(experiment, count):
    assert len(read_grid([f"experiment={experiment}"]).points) == count


def test_each_point_is_what_its_overrides_alone_compose_to(compose_values):
    for point in read_grid(["experiment=paper_gaussian", "data.rows=10,20", "seed=3"]).points:
        values = compose_values(*point.overrides)
        assert (values["data"]["rows"], values["seed"]) == (point.settings.data.rows, point.settings.seed)


def test_problems_of_all_points_are_reported_once_each():
    with pytest.raises(UserError) as refusal:
        read_grid(["seed=0,x", "generations=1,-1", "regime=replace,replase"])
    message = str(refusal.value)
    assert "nothing was run: 7 of the grid's 8 points are invalid" in message
    for text in ("seed: 'x' is not allowed", "generations: -1 is not allowed", "did you mean replace?"):
        assert message.count(text) == 1
    assert "at generations=1 regime=replase seed=0" in message


def test_a_plan_is_no_point():
    grid = read_grid(["seed=0,1", "plan=true"])
    assert grid.plan
    assert not any("plan" in override for point in grid.points for override in point.overrides)


ONE_OF_THE_PAPERS = ("experiment=paper_opt", "seed=0", "regime=replace", "decoding.repetition_penalty=1.0")


def many(*words):
    """A grid of twenty chains that are all alike."""
    grid = read_grid([*ONE_OF_THE_PAPERS, *words])
    return replace(grid, points=grid.points * 20)


def test_joblib_runs_no_more_chains_than_fit_and_as_many_as_are_asked_for(monkeypatch):
    from modelcollapse.sweeps import resources

    monkeypatch.setattr(resources, "usable_cores", lambda: 16)
    monkeypatch.setattr(resources, "visible_gpus", lambda: [])
    grid = many("hydra/launcher=joblib")
    needed = resources.expected_memory(grid.points[0].settings)
    for memory, jobs in ((needed // 2, 1), (needed, 1), (3 * needed, 3), (1000 * needed, 16)):
        monkeypatch.setattr(resources, "usable_memory", lambda free=memory: free)
        assert jobs_of(grid) == jobs
    assert jobs_of(replace(grid, points=grid.points[:2])) == 2
    assert jobs_of(many("hydra/launcher=joblib", "trainer.threads=4")) == 4
    assert jobs_of(many("hydra/launcher=joblib", "hydra.launcher.n_jobs=7")) == 7
    assert jobs_of(many("hydra/launcher=joblib", "trainer.devices=8")) == 2
    monkeypatch.setattr(resources, "visible_gpus", lambda: ["0", "1", "2", "3", "4"])
    assert jobs_of(grid) == 5
    assert jobs_of(many("hydra/launcher=joblib", "trainer.devices=2")) == 2
    assert jobs_of(many("hydra/launcher=joblib", "trainer.accelerator=cpu")) == 16
    assert jobs_of(many()) == 1


def test_chains_that_run_side_by_side_share_the_cores(monkeypatch):
    from modelcollapse.sweeps import runner

    monkeypatch.setattr(runner, "usable_cores", lambda: 16)
    assert (threads_of(1), threads_of(4), threads_of(100)) == (None, 4, 1)


def test_what_a_chain_takes_grows_with_its_network_and_its_batches():
    def memory(*words):
        return expected_memory(read_grid(words).points[0].settings)

    small = memory("seed=0")
    assert 1e9 < small < 2e9
    assert memory(*ONE_OF_THE_PAPERS) > 4 * small
    assert memory("seed=0", "model.architecture.layers=200") > 1.2 * small
    assert memory("seed=0", "decoding.batch_size=10000") > 1.2 * small
    assert memory("seed=0", "trainer.devices=2") > 1.5 * small


def test_a_launcher_that_is_not_installed_is_reported_with_what_installs_it(monkeypatch):
    from modelcollapse.sweeps import runner

    grid = read_grid(["seed=0,1", "hydra/launcher=joblib"])
    check_launcher(grid)
    monkeypatch.setattr(runner, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'modelcollapse\[launchers\]'"):
        check_launcher(grid)
