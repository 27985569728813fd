"""What people wait for before anything is computed does little: what it imports, reads and composes is counted."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from extension import install

BARE = """
import hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config):
    pass

main()
"""
COUNTING = """
import atexit, json, sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)

def report():
    modules = sorted(sys.modules)
    print(json.dumps({"modules": modules, "opened": opened, "composed": composed}), file=sys.stderr)

atexit.register(report)
from hydra._internal.config_loader_impl import ConfigLoaderImpl
composed, compose = [], ConfigLoaderImpl._load_configuration_impl

def counted(self, config_name, overrides, *more, **options):
    composed.append(list(overrides))
    return compose(self, config_name, overrides, *more, **options)

ConfigLoaderImpl._load_configuration_impl = counted
"""
OURS = (
    COUNTING
    + """
from modelcollapse.commands.run import train
train()
"""
)
OF_COMPOSING = {
    "modelcollapse",
    *(f"modelcollapse.{name}" for name in ("command_line", "commands", "commands.run", "config", "credentials")),
    *(
        f"modelcollapse.config.{name}"
        for name in (
            "composing",
            "extensions",
            "grid_bounds",
            "guard",
            "hydra_internals",
            "interpolations",
            "other_names",
        )
    ),
    *(f"modelcollapse.{name}" for name in ("errors", "output", "registry", "settings", "surroundings")),
}
"""Modules of this package that composing needs: none of a family, of the record, of the store."""
COMPLETED = "python train.py regime="
ANSWERS = {
    "composed settings": (("--cfg", "job"), {}),
    "help": (("--help",), {}),
    "completion": (("-sc", "query=bash"), {"COMP_LINE": COMPLETED, "COMP_POINT": str(len(COMPLETED))}),
}
MISTAKES = {
    "misspelt option": ("model=vea",),
    "misspelt setting": ("model.training.epocs=3",),
    "value not allowed": ("seed=x", "generations=-1"),
}


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Run a program in a process; what it printed, the modules it imported, the files it opened, what it composed."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "conf").mkdir()
    (folder / "conf" / "train.yaml").write_text("name: bare\n")

    def run(program, arguments, variables):
        (folder / "program.py").write_text(program)
        command = [sys.executable, str(folder / "program.py"), *arguments]
        environment = {**os.environ, **variables}
        finished = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
        *said, found = finished.stderr.splitlines()
        return finished.stdout + "\n".join(said), json.loads(found)

    return run


@pytest.fixture(scope="module")
def of_hydra(counts):
    """Packages that a bare Hydra program imports."""
    return packages(counts(COUNTING + BARE, ("--cfg", "job"), {})[1])


def packages(found):
    """Packages that are not Python's own."""
    return {name.partition(".")[0] for name in found["modules"]} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("answer", ANSWERS)
def test_composing_imports_what_hydra_does_and_little_of_ours(counts, of_hydra, answer):
    said, found = counts(OURS, *ANSWERS[answer])
    assert "replace" in said
    assert packages(found) <= {*of_hydra, "modelcollapse"}
    assert {name for name in found["modules"] if name.startswith("modelcollapse")} <= OF_COMPOSING
    assert len(found["composed"]) <= 1
    # Where no installed package has entry points for this one, they are not parsed: that takes longer than the rest.
    assert "importlib.metadata" not in found["modules"]
    assert_read_once(found)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_imports_only_settings_on_top(counts, of_hydra, mistake):
    said, found = counts(OURS, MISTAKES[mistake], {})
    # Hydra composes to ask for hydra.mode; what could be composed then is not composed again.
    assert len(found["composed"]) == (1 if mistake == "value not allowed" else 2)
    assert MISTAKES[mistake][0].partition("=")[0] in said
    assert packages(found) <= {*of_hydra, "modelcollapse"}
    # A family's settings, registration and what these need; not its implementation.
    assert not {name for name in found["modules"] if name.endswith((".family", ".module", ".stages", ".presentation"))}
    assert_read_once(found)


def assert_read_once(found):
    """Entry points of each installed package are read once at most, and no lock of code."""
    opened = [name for name in found["opened"] if name.endswith("entry_points.txt")]
    assert len(opened) == len(set(opened))
    assert not [name for name in found["opened"] if name.endswith("lock.json")]


COMPLETING = """
eval "$({program} -sc install=bash)"
COMP_LINE={line}
COMP_POINT=${{#COMP_LINE}}
COMP_WORDS=($COMP_LINE)
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
hydra_bash_completion
echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_what_extensions_bring(repository, tmp_path):
    """As a person sets it up, with the package of an extension installed."""
    shutil.copy(repository / "train.py", tmp_path)
    line = shlex.quote("python train.py regime=lab_")
    environment = install(tmp_path / "site")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    finished = subprocess.run(
        ["bash", "--norc", "-c", COMPLETING.format(program="python train.py", line=line)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.stdout.split() == ["regime=lab_every", "regime=lab_mixed"], finished.stderr
