"""What is said to people whose overrides Hydra does not take."""

import pytest

from conftest import run_command

SAID = {
    "several values": ("seed=0,1", ["train.py -m seed=0,1", "sweep.py seed=0,1", "seed=[0,1]", "\"seed='0,1'\""]),
    "several options": ("regime=replace,preserve", ["train.py -m regime=replace,preserve", "sweep.py"]),
    "an interval": ("data.rows=interval(1,2)", ["train.py -m hydra/sweeper=optuna 'data.rows=interval(1,2)'"]),
    "a wrong value of Hydra's": ("hydra.job.chdir=maybe", ["hydra.job.chdir: Value 'maybe' is not a valid bool"]),
    "a folder for each job": ("hydra.job.chdir=true", ["paths in settings are relative", "hydra.run.dir=FOLDER"]),
    "an equals sign in a path": ("data.path=/a=b", ["\"data.path='/a=b'\""]),
    "brackets in a path": ("data.path=/a(b)", ["\"data.path='/a(b)'\""]),
    "a letter beyond ASCII": ("data.path=/ä", ["\"data.path='/ä'\"", "beyond ASCII"]),
    "a quote that the shell took": ("model.name='x", ["\"model.name='x'\""]),
    "a list that is not closed": ("metrics.add=[a", ["must be closed"]),
    "a name with a blank": ("a b=3", ["SETTING=VALUE, GROUP=OPTION"]),
    "a sweeper that there is not": ("hydra/sweeper=optunaa", ["did you mean optuna?", "modelcollapse[optuna]"]),
    "a launcher that there is not": ("hydra/launcher=jobliib", ["did you mean joblib?", "modelcollapse[launchers]"]),
    "another option of Hydra's": ("hydra/job_logging=defualt", ["did you mean default?", "disabled"]),
    "a reference that leads nowhere": ("hydra.run.dir=${nope}", ["hydra.run.dir: Interpolation key 'nope' not found"]),
    "a search path that is not there": ("hydra.searchpath=[nowhere]", ["hydra.searchpath: nowhere is not there"]),
    "no option": ("regime=null", ["regime=null: a group is set to one of its options, by name"]),
    "a pickle": ("--experimental-rerun=x", ["would load a pickle", ".hydra/overrides.yaml"]),
}


@pytest.mark.parametrize("name", SAID)
def test_a_mistake_is_told_with_what_to_type_instead(tmp_path, name):
    override, expected = SAID[name]
    answer = run_command([override], tmp_path, tmp_path)
    assert answer.code == 2
    for text in expected:
        assert text in answer.err
    for text in ("Traceback", "hydra.cc", "Lexer", "Search path"):
        assert text not in answer.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("configuration", ["train", "sweep"])
def test_the_version_is_that_of_the_package(tmp_path, configuration):
    from modelcollapse import __version__

    answer = run_command(["--version"], tmp_path, tmp_path, configuration)
    assert answer.out == f"modelcollapse {__version__}\n"


@pytest.mark.parametrize("configuration", ["train", "sweep"])
def test_options_of_a_search_path_are_found_by_chains_and_grids(tmp_path, configuration):
    (tmp_path / "mine" / "regime").mkdir(parents=True)
    (tmp_path / "mine" / "regime" / "half.yaml").write_text(
        "defaults:\n  - preserve\n  - _self_\nname: half\nreal: 0.5\n"
    )
    words = [
        "experiment=paper_gaussian",
        "model.synthesis=samples",
        "generations=1",
        "regime=half",
        "plan=true",
        "seed=0",
    ]
    answer = run_command([*words, f"hydra.searchpath=[{tmp_path / 'mine'}]"], tmp_path, tmp_path, configuration)
    assert answer.code == 0, answer.err
    assert "to compute" in answer.out
