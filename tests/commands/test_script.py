"""A script that registers something of its own and calls ``modelcollapse.main()``."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

import modelcollapse

SCRIPT = """import modelcollapse as mc
import torch


@mc.metric("largest_share", label="largest share", of="replicates", version=1)
def largest_share(states: dict[str, torch.Tensor]) -> torch.Tensor:  # [T, R, K] -> [T, R]
    return states["probabilities"].max(dim=-1).values


@mc.regime("every_kth", version=1)
class EveryKth:
    k: int = 2

    def compose(self, generation: int) -> list[mc.Draw]:
        return [mc.Draw.real()] if generation % self.k == 0 else [mc.Draw.latest()]


if __name__ == "__main__":
    mc.main()
"""
SMALL = (
    *("model=discrete", "data=categorical_samples", "decoding=none", "tracking=none", "paths.store=store"),
    *("data.rows=20", "model.replicates=3", "generations=4", "regime=every_kth", "metrics.add=[largest_share]"),
)


@pytest.fixture
def script(tmp_path):
    """Run the script with words; what it printed."""
    (tmp_path / "own.py").write_text(SCRIPT)

    def run(*words, code=0):
        environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
        program = [sys.executable, "own.py", *words]
        finished = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr

    return run


def test_a_script_runs_a_chain_with_what_it_registered(script, tmp_path):
    script(*SMALL, "hydra.run.dir=run")
    identity = json.loads((tmp_path / "run" / "chain.json").read_text())
    assert [(each["kind"], each["name"]) for each in identity["extensions"]] == [
        ("metrics", "largest_share"),
        ("regimes", "every_kth"),
    ]
    assert {each["origin"] for each in identity["extensions"]} == {str(tmp_path / "own.py")}
    assert all(each["version"] == 1 and len(each["digest"]) == 64 for each in identity["extensions"])
    table = modelcollapse.results(tmp_path / "run")
    assert table["largest_share/mean"].notna().all()
    again = script(*SMALL, "hydra.run.dir=again")
    assert "nothing to compute" in again
    assert "'metrics.add=[largest_share]' seed=1" in again


def test_the_processes_of_a_sweep_import_the_script(script, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    said = script(
        *SMALL,
        *("seed=0,1", "regime.k=2,3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=grid"),
    )
    assert "4 of 4 chains finished" in said
    assert (tmp_path / "grid" / "report" / "report.html").is_file()
    table = modelcollapse.results(tmp_path / "grid")
    assert len(table) == 4 * 5
    assert isinstance(table, pd.DataFrame)
    assert table["largest_share/mean"].notna().all()


def test_a_mistake_in_a_script_names_its_options(script, tmp_path):
    said = script(*SMALL, "regime=every_kht", code=2)
    assert "there is no such regime (did you mean every_kth?)" in said
    assert not (tmp_path / "store").exists()


BROKEN = """from dataclasses import dataclass

import modelcollapse as mc
from modelcollapse.data.settings import SamplesSettings


@dataclass(frozen=True, kw_only=True)
class Settings(SamplesSettings):
    rows: int = 20
    mean: tuple[float, ...] = (0.0,)
    covariance: tuple[tuple[float, ...], ...] = ((1.0,),)
    numbers_per_row: int = 1


@mc.dataset("broken", "samples", Settings)
class Broken:
    def __init__(self, settings):
        pass

    def draw(self, replicates, rows, stream):
        return 1 / 0


if __name__ == "__main__":
    mc.main()
"""


def test_an_error_of_registered_code_is_shown_as_python_shows_it_with_the_stage_on_top(tmp_path):
    (tmp_path / "own.py").write_text(BROKEN)
    words = ("model=gaussian_mixture", "data=broken", "decoding=none", "tracking=none", "paths.store=store")
    # What a notebook sets for the commands that it starts; there need be no such module here.
    environment = {**os.environ, "MPLBACKEND": "inline of a notebook"}
    program = [sys.executable, "own.py", *words, "model.replicates=2", "generations=1"]
    finished = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert finished.returncode == 1
    assert "error while computing generation 0\nTraceback (most recent call last):\n" in finished.stderr
    assert "    return 1 / 0\n           ~~^~~\nZeroDivisionError: division by zero" in finished.stderr
