"""The benchmarks run, at the size of a glance."""

import os
import subprocess
import sys

import pytest

QUICK = {
    "regression_and_density": ("--quick",),
    "mixture": ("--quick",),
    "vae": ("--quick",),
    "synthesis": ("--quick",),
    "training": ("--quick", "--contestants", "project"),
    "generation": ("--quick",),
    "start_up": ("--quick",),
    "report": ("--quick",),
    "sweep": ("--quick",),
    "text_at_scale": ("--quick",),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_benchmark_runs(repository, tmp_path, name):
    script = repository / "benchmarks" / f"{name}.py"
    done = subprocess.run([sys.executable, script, *QUICK[name]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any(word in done.stdout for word in ("ratio", "speed", "at most")), done.stdout


PARTS = ("recorded_steps", "numbers", "seeding", "synthesis", "training", "generation")


def table_on_gpu(repository, folder, **environment):
    """What each part came to in the table of ``on_gpu.sh --cpu``."""
    script = repository / "benchmarks" / "on_gpu.sh"
    done = subprocess.run(
        ["bash", script, "--cpu", folder], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = (folder / "table.md").read_text(encoding="utf-8").splitlines()
    return {cells[1].strip(): cells[2].strip() for line in lines if len(cells := line.split("|")) == 5}


@pytest.mark.slow
def test_the_parts_for_a_gpu_run_small_without_one(repository, tmp_path):
    table = table_on_gpu(repository, tmp_path, PYTHON=sys.executable)
    assert {part: table[part] for part in PARTS} == dict.fromkeys(PARTS, "ran")


def test_a_part_that_fails_leaves_the_others_alone(repository, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho Error: broken; exit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    table = table_on_gpu(repository, tmp_path / "out", PYTHON=str(broken))
    assert {part: table[part] for part in PARTS} == dict.fromkeys(PARTS, "failed, exit code 3")
