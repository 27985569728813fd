"""Every example of docs/extending.md, run as it is printed."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from conftest import EXECUTION, TINY
from modelcollapse.registry import KINDS

SMALL = (*EXECUTION, "data.rows=30", "model.replicates=3", "generations=3")
NETWORK = (*TINY, "generations=1", "decoding.kind=sample", "decoding.beams=1")
FIT = (*NETWORK, "generations=0")
REDUCED = {
    "laplace": (SMALL, "scale/mean"),
    "ring": (SMALL, "mean_error/mean"),
    "fading": (SMALL, "survivors/mean"),
    "eta": (NETWORK, "test/perplexity"),
    "plain": (NETWORK, "selection/threshold"),
    "knockout": (NETWORK, "selection/threshold"),
    "smoothed": (FIT, "test/perplexity"),
    "moving_average": (SMALL, "mean_error/mean"),
    "surprised": (NETWORK, "editing/edited_share"),
    "rmsprop": (FIT, "test/perplexity"),
    "cooldown": (FIT, "test/perplexity"),
    "token_types": (NETWORK, "synthetic/types_per_token"),
    "last_line": (NETWORK, "test/perplexity"),
    "gradient_norm": ((*FIT, "seed=1"), "test/perplexity"),
}
"""Script -> what makes it small, and a metric that its chain has recorded.

A callback that only looks sees what is fitted: one of its own, since they share a store.
"""
RUNNING = """
import io, json, runpy, sys, traceback
from contextlib import redirect_stderr, redirect_stdout
said = {}
for name, words in json.loads(sys.argv[1]):
    sys.argv = [f"{name}.py", *words]
    out = io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(out):
            runpy.run_path(f"{name}.py", run_name="__main__")
        said[name] = [0, out.getvalue()]
    except SystemExit as leaving:
        said[name] = [leaving.code, out.getvalue()]
    except Exception:
        said[name] = [1, traceback.format_exc()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def examples(repository):
    """Script -> (its text, the words that it is run with)."""
    page = (repository / "docs" / "extending.md").read_text()
    found = {}
    for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        python, script, *words = shlex.split(text.splitlines()[0].strip('"'))
        assert python == "python"
        found[script.removesuffix(".py")] = (text, words)
    return found


@pytest.fixture(scope="module")
def finished(examples, tmp_path_factory):
    """The folder where all were run, one after the other in one process, and what each ended with and printed."""
    folder = tmp_path_factory.mktemp("extending")
    commands = []
    for name, (text, words) in examples.items():
        (folder / f"{name}.py").write_text(text)
        # What the page names comes last: it counts.
        commands.append((name, [*REDUCED[name][0], *words, "paths.store=store", f"hydra.run.dir=run_{name}"]))
    program = [sys.executable, "-c", RUNNING, json.dumps(commands)]
    ended = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=550)
    assert ended.returncode == 0, ended.stderr
    return folder, json.loads(ended.stdout.splitlines()[-1])


def test_there_is_an_example_of_every_kind_and_none_is_long(examples):
    assert len(examples) == len(KINDS)
    assert examples.keys() == REDUCED.keys()
    assert {name: len(text.splitlines()) for name, (text, _) in examples.items() if len(text.splitlines()) > 50} == {}


@pytest.mark.parametrize("name", REDUCED)
def test_an_example_runs_as_printed_and_is_in_the_record(finished, name):
    folder, said = finished
    code, out = said[name]
    assert code == 0, out
    *_, last = (folder / f"run_{name}" / "generations.jsonl").read_text().splitlines()
    assert REDUCED[name][1] in json.loads(last)
    (extension,) = json.loads((folder / f"run_{name}" / "chain.json").read_text())["extensions"]
    assert extension["origin"] == str(folder / f"{name}.py")
    assert len(extension["digest"]) == 64


def test_what_a_logger_and_a_callback_have_seen(finished):
    folder, _ = finished
    assert (folder / "run_last_line" / "last.txt").read_text().startswith("generation 1: ")
    lines = (folder / "run_gradient_norm" / "training.jsonl").read_text().splitlines()
    assert all(json.loads(line)["gradient_norm"] > 0 for line in lines)
