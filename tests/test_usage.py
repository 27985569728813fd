"""Every block of docs/usage.md, run as it is printed."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pandas as pd
import pytest

import modelcollapse as mc

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUNNING = '''
import io, json, runpy, sys, traceback
from contextlib import redirect_stderr, redirect_stdout

from modelcollapse.commands import run, subcommands


def started(program, arguments):
    """Run a command as its program does."""
    sys.argv = [program, *arguments]
    if program in ("train.py", "sweep.py"):
        getattr(run, program.removesuffix(".py"))()
    elif program == "modelcollapse":
        subcommands.main()
    else:
        runpy.run_path(program, run_name="__main__")


ended = []
for kind, text in json.loads(sys.argv[1]):
    out = io.StringIO()
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(out):
            if kind == "python":
                exec(compile(text, "a notebook", "exec"), {"__name__": "a notebook"})
            else:
                started(*text)
    except SystemExit as leaving:
        code = leaving.code or 0
    except BaseException:
        code = traceback.format_exc()
    ended.append([code, out.getvalue()])
print(json.dumps(ended))
'''


@pytest.fixture(scope="module")
def blocks(repository):
    """Language and text of each block."""
    return BLOCK.findall((repository / "docs" / "usage.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def steps(blocks):
    """What is run, in order: blocks of a notebook, and commands."""
    found = [("python", text) for language, text in blocks if language == "python" and file_of(text) is None]
    for language, text in blocks:
        if not language:
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                found.append(("command", [arguments.pop(0) if program == "python" else program, arguments]))
    return found


@pytest.fixture(scope="module")
def ended(blocks, steps, tmp_path_factory):
    """The folder where all were run, and (exit code, what was printed) of each step."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("usage")
    for _, text in blocks:
        if file := file_of(text):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
    install(folder, folder / "installed")
    # The package is installed when the page comes to it, and gone again: its script is another regime of that name.
    first = next(number for number, step in enumerate(steps) if "extensions" in step[1][1])
    parts = (steps[:first], None), (steps[first : first + 2], folder / "installed"), (steps[first + 2 :], None)
    return folder, [result for part, installed in parts for result in results_of(part, folder, installed)]


def results_of(steps, folder, installed):
    """Exit code, or what was raised, and what was printed of each step, all run in one process."""
    path = os.pathsep.join(str(each) for each in (installed, os.environ.get("PYTHONPATH")) if each)
    environment = {**os.environ, "WANDB_MODE": "disabled", "PYTHONPATH": path}
    environment.pop("MODELCOLLAPSE_STORE", None)
    program = [sys.executable, "-c", RUNNING, json.dumps(steps)]
    finished = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=580)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def file_of(text):
    """The file that a block is, as its first line says."""
    found = re.match(r"# (\S+\.(?:py|yaml|toml))\n", text)
    return found and found[1]


def install(folder, place):
    """What pip leaves of the package that the page prints: its module, and its entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    described = place / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
        for group, names in project["entry-points"].items()
    ]
    (described / "entry_points.txt").write_text("\n".join(groups))
    (place / "every_kth.py").write_text((folder / "every_kth.py").read_text())


def test_every_block_runs_as_printed(ended, steps):
    _, results = ended
    failed = {str(step): result for step, result in zip(steps, results, strict=True) if result[0] != 0}
    assert failed == {}


def said(ended, steps, program, word):
    """What the command printed that begins with the program and has the word."""
    _, results = ended
    (printed,) = [
        text
        for (kind, what), (_, text) in zip(steps, results, strict=True)
        if kind == "command" and what[0] == program and word in " ".join(what[1])
    ]
    return printed


def test_what_the_blocks_have_left(ended, steps):
    folder, _ = ended
    assert "types_per_token" in json.dumps(
        [run.identity["extensions"] for run in map(mc.Run, sorted(folder.glob("outputs/*/*")))]
    )
    assert "2 of 2 chains finished" in said(ended, steps, "sweep.py", "seed=0,1")
    assert "nothing computed now" in said(ended, steps, "train.py", "plan=true")
    assert re.search(r"every-kth 1\.0\n  regime +every_kth", said(ended, steps, "modelcollapse", "extensions"))
    assert "regime half" in said(ended, steps, "train.py", "regime=half")
    assert (folder / "parameters" / "README.md").is_file()
    assert "recipes differ since generation 0" in said(ended, steps, "modelcollapse", "compare")
    assert any(folder.glob("multirun/*/*/optimization_results.yaml"))


def test_lightnings_line_is_seen_by_all_its_loggers(ended):
    folder, _ = ended
    (run,) = {path.parent for path in folder.glob("outputs/*/*/generations.csv")}
    table = pd.read_csv(run / "generations.csv")
    assert table["generation"].tolist() == [0, 1]
    assert any(run.rglob("events.out.tfevents*"))
    assert any((run / "profiles").iterdir())
