"""The benchmarks run, at the size of a glance."""

import subprocess
import sys

import pytest

QUICK = {
    "mixture": ("--quick",),
    "vae": ("--quick",),
    "synthesis": ("--quick",),
    "training": ("--quick", "--contestants", "project"),
    "generation": ("--quick",),
    "start_up": ("--quick",),
    "report": ("--quick",),
    "text_at_scale": ("--quick",),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_benchmark_runs(repository, tmp_path, name):
    script = repository / "benchmarks" / f"{name}.py"
    done = subprocess.run([sys.executable, script, *QUICK[name]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any(word in done.stdout for word in ("ratio", "speed", "at most")), done.stdout
