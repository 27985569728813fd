"""Extensions that are installed: their members and their configuration, found without importing anything heavy."""

import json
import subprocess
import sys

import pytest
import yaml

from extension import BROKEN, REGISTRATION, install

GAUSSIAN = ("model=gaussian", "data=gaussian_samples", "decoding=none", "tracking=none")
HALF = "defaults:\n  - older\n  - _self_\nname: half\nreal: 0.5\n"
HEAVY = ("torch", "transformers", "numpy", "pandas", "wandb", "matplotlib")
COMPOSING = f"""
import json, sys
from modelcollapse.commands import run
try:
    getattr(run, sys.argv.pop(1))()
finally:
    print(json.dumps([name for name in {HEAVY} if name in sys.modules]), file=sys.stderr)
"""


@pytest.fixture
def composing(tmp_path):
    """Run train.py or sweep.py with an extension installed; what was printed, and heavy modules that it imported."""

    def run(*overrides, command="train", cwd=tmp_path, **extension):
        environment = install(tmp_path / "site", **extension)
        program = [sys.executable, "-c", COMPOSING, command, *overrides]
        finished = subprocess.run(program, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120)
        *errors, heavy = finished.stderr.splitlines()
        return finished.stdout, "\n".join(errors), json.loads(heavy)

    return run


def test_a_registered_member_and_a_file_of_a_package_are_options(composing, tmp_path):
    out, errors, heavy = composing("--cfg", "job", *GAUSSIAN, "regime=lab_every", "regime.k=3")
    assert yaml.safe_load(out)["regime"] == {"k": 3, "rule": "lab_every"}
    assert (errors, heavy) == ("", [])


def test_a_file_of_a_package_builds_on_ours(composing):
    out, _, heavy = composing("--cfg", "job", "regime=lab_mixed")
    assert yaml.safe_load(out)["regime"]["real"] == 0.5
    assert heavy == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("regime=lab_evry",), "there is no such regime (did you mean lab_every?); there are: accumulate"),
        (("regime=lab_mixd",), "did you mean lab_mixed?"),
        (("regime=lab_every", "regime.k=many"), "regime.k: 'many' is not allowed; it must be a whole number"),
        (("regime=lab_every", "regime.j=2"), "regime.j: no such setting; there are: k, rule"),
    ],
)
def test_a_mistake_names_what_extensions_have_and_imports_nothing_heavy(composing, overrides, said):
    _, errors, heavy = composing(*GAUSSIAN, *overrides)
    assert said in errors
    assert heavy == []


def test_an_option_that_there_is_already_is_refused(composing):
    _, errors, _ = composing("--cfg", "job", files=[("regime/replace", "name: mine\n")])
    assert errors == (
        "error: extension my-lab 1.2: its option regime/replace is there already, from modelcollapse; one must go"
    )


def test_an_extension_that_does_not_load_stops_only_what_asks_for_it(composing):
    registration = "import no_such_library\n" + REGISTRATION
    out, errors, _ = composing("--cfg", "job", registration=registration)
    assert yaml.safe_load(out)["regime"]["name"] == "replace"
    assert errors == ""


def test_what_asks_for_an_extension_that_does_not_load_hears_why(composing):
    _, errors, _ = composing("regime=lab_every", registration="import no_such_library\n" + REGISTRATION)
    assert "there is no such regime" in errors
    assert "lab of my-lab 1.2 could not be loaded: ModuleNotFoundError: No module named 'no_such_library'" in errors


def test_the_listing_names_what_is_there_from_where_and_what_does_not_load(tmp_path):
    environment = install(tmp_path / "site", more=BROKEN)
    program = [sys.executable, "-m", "modelcollapse", "extensions"]
    finished = subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    origin, regime, folder, broken = finished.stdout.splitlines()
    assert origin == "my-lab 1.2"
    assert regime.split() == ["regime", "lab_every", "version", "3"]
    assert folder.split() == ["configuration", str(tmp_path / "site" / "my_lab" / "conf")]
    assert broken.startswith("not loaded: lost of my-lab 1.2 could not be loaded: ModuleNotFoundError")
    assert finished.returncode == 1


@pytest.fixture
def mine(tmp_path):
    """A folder of somebody's own options."""
    (tmp_path / "mine" / "regime").mkdir(parents=True)
    (tmp_path / "mine" / "regime" / "half.yaml").write_text("defaults:\n  - older\n  - _self_\nname: half\nreal: 0.5\n")
    return tmp_path / "mine"


@pytest.mark.parametrize("flag", [("--config-dir", "mine"), ("--config-dir=mine",), ("-cd", "mine")])
def test_a_folder_of_ones_own_options_works_for_a_chain(composing, mine, flag):
    out, errors, _ = composing("--cfg", "job", *flag, "regime=half")
    assert yaml.safe_load(out)["regime"]["name"] == "half", errors


def test_a_folder_of_ones_own_options_works_for_a_grid_and_its_chains(mine, monkeypatch):
    from modelcollapse.config.extensions import config_dir_arguments, use_config_dirs
    from modelcollapse.sweeps.points import read_grid

    monkeypatch.chdir(mine.parent)
    overrides = use_config_dirs(["--config-dir", "mine", *GAUSSIAN, "model.synthesis=samples", "regime=half,replace"])
    try:
        grid = read_grid([*overrides, "seed=0"])
        assert [point.settings.regime.name for point in grid.points] == ["half", "replace"]
        assert config_dir_arguments() == [f"--config-dir={mine}"]
    finally:
        use_config_dirs([])


def test_a_folder_that_is_not_there_is_named(composing):
    _, errors, _ = composing("--config-dir", "nowhere")
    assert errors == "error: --config-dir: nowhere is not there"
