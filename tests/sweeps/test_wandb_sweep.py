"""The sweep file for agents of Weights & Biases, the report run, and the folder that both share a name with."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from modelcollapse.config.settings import read_chain_settings
from modelcollapse.record.tracking import TrackingSettings
from modelcollapse.sweeps.reporting import show_report


@pytest.fixture
def sweep_file(repository):
    return yaml.safe_load((repository / "wandb" / "sweep.yaml").read_text())


def test_every_point_of_the_sweep_file_is_a_chain(sweep_file, compose_values):
    parameters = {name: one.get("values", [one.get("value")]) for name, one in sweep_file["parameters"].items()}
    points = list(product(*parameters.values()))
    assert len(points) == 9
    chains = set()
    for point in points:
        words = [f"{name}={value}" for name, value in zip(parameters, point, strict=True)]
        settings = read_chain_settings(compose_values(*words))
        chains.add((settings.name, settings.regime.name, settings.seed))
    assert len(chains) == len(points)


def test_the_agent_runs_the_script_that_there_is_with_plain_words(sweep_file, repository):
    assert (repository / sweep_file["program"]).is_file()
    assert sweep_file["command"] == ["${env}", "python", "${program}", "${args_no_hyphens}"]


def test_the_folder_of_the_sweep_file_does_not_stand_before_the_library(repository):
    program = "import wandb; print(wandb.__version__, hasattr(wandb, 'init'))"
    told = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True)
    assert told.stdout.split()[1] == "True"


def test_git_keeps_the_sweep_file_and_not_the_runs_beside_it(repository):
    if not (repository / ".git").exists():
        pytest.skip("no checkout of git")
    ask = ["git", "check-ignore", "--no-index", "wandb/sweep.yaml", "wandb/run-1/x", "wandb/latest-run"]
    told = subprocess.run(ask, cwd=repository, capture_output=True, text=True)
    assert told.stdout.split() == ["wandb/run-1/x", "wandb/latest-run"]


def report(folder):
    """What the report on two groups hands over, at its smallest."""
    from PIL import Image

    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "perplexity.png")
    for name in ("report.html", "summary.csv", "perplexity.pdf"):
        (folder / name).write_text(name)
    rows = [
        {"group": group, "generation": generation, "metric": "test/perplexity", "over": over, "mean": mean}
        for group, first in (("replace", 30.0), ("preserve", 20.0))
        for generation in range(3)
        for over, mean in (("seeds", first + generation), ("replicates of all seeds", -1.0))
    ]
    return SimpleNamespace(
        html=folder / "report.html",
        summary=(folder / "summary.csv",),
        figures=(folder / "perplexity.png", folder / "perplexity.pdf"),
        headline=pd.DataFrame({"group": ["replace", "preserve"], "perplexity": ["32", "22"]}),
        differences=pd.DataFrame({"first": ["replace"], "generation": [2], "mean_difference": [10.0]}),
        aggregated=pd.DataFrame(rows),
    )


def shown(folder, **environment):
    """Show the report in a process of its own, which has seen nothing of W&B; the records of its run, by type."""
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    paths = {"HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    told = [sys.executable, __file__, str(folder)]
    subprocess.run(told, env={**clean, **paths, **environment}, cwd=home, check=True, timeout=300)
    (offline,) = (folder / "wandb").glob("offline-run-*")
    read = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(offline)]
    lines = [json.loads(line) for line in subprocess.run(read, capture_output=True, text=True).stdout.splitlines()]
    return {kind: [line[kind] for line in lines if line["type"] == kind] for kind in ("run", "history", "metric")}


def test_the_report_is_a_run_in_the_group_of_its_chains(tmp_path):
    records = shown(tmp_path / "report")
    (run,) = records["run"]
    assert (run["display_name"], run["run_group"], run["job_type"]) == ("report", "paper_opt", "report")
    assert run["run_id"].startswith("report-")
    rows = [row["item"] for row in records["history"]]
    curves = {row["generation"]: row["test/perplexity/replace"] for row in rows if "test/perplexity/replace" in row}
    assert curves == {0: 30.0, 1: 31.0, 2: 32.0}
    names = {name for row in rows for name in row}
    for expected in ("tables/headline", "tables/differences", "figures/perplexity"):
        assert any(name.startswith(expected) for name in names), names


def test_under_an_agent_the_agent_names_the_run(tmp_path):
    (run,) = shown(tmp_path / "report", WANDB_SWEEP_ID="sweep1", WANDB_RUN_ID="agents-own")["run"]
    assert run["run_id"] == "agents-own"


if __name__ == "__main__":
    place = Path(sys.argv[1])
    show_report(TrackingSettings(mode="offline"), "paper_opt", ["b", "a"], place, report(place))
