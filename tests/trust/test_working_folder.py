"""Code that lies in the working folder is not imported by commands that are typed there."""

import subprocess
import sys

import pytest

from conftest import ROOT

PLANTED = ("torch", "numpy", "yaml", "json", "wandb", "hydra_plugins/planted")
CHAIN = ("experiment=paper_gaussian", "generations=1", "data.rows=20", "model.replicates=2", "tracking=none", "seed=0")


@pytest.mark.parametrize(
    "command",
    [
        ("sweep.py", *CHAIN, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1"),
        pytest.param(
            ("-m", "modelcollapse", "train", *CHAIN, "data.rows=20,30", "-m", "hydra/launcher=joblib"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["a sweep", "a multirun"],
)
def test_modules_of_the_working_folder_do_not_run(tmp_path, command):
    folder, marker = tmp_path / "downloaded", tmp_path / "ran"
    (folder / "hydra_plugins").mkdir(parents=True)
    for name in PLANTED:
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').write(__name__)\n")
    first, *rest = command
    program = [str(ROOT / first)] if first.endswith(".py") else [first]
    answer = subprocess.run([sys.executable, *program, *rest], cwd=folder, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    assert not marker.exists(), marker.read_text()
    assert list((folder / "multirun").rglob("generations.jsonl"))
