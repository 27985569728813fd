"""What is installed: exact versions, a wheel that brings its configuration, and the page that documents it."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import modelcollapse
from modelcollapse.commands import settings_document
from modelcollapse.config.settings import MEMBER_GROUPS, ChainSettings
from modelcollapse.record import ChainIdentity, Record
from modelcollapse.registry import registry

UNPINNED = {"modelcollapse", "pip"}
"""The package itself, and what every virtual environment begins with."""


def normal(name):
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def constraints(repository):
    """The lines of constraints.txt that are no comments."""
    lines = (repository / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def pinned(constraints):
    """Name to the exact version that constraints.txt pins; 13.0.3 and 13.0.3.0 are one version."""
    return {normal(name): Version(version) for name, version in (line.split("==") for line in constraints)}


def test_constraints_are_exact_versions_and_name_no_place(constraints):
    assert len(constraints) > 100
    for line in constraints:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.]*", line), line
    names = [normal(line.split("==")[0]) for line in constraints]
    assert len(names) == len(set(names))


def test_everything_installed_is_pinned_as_installed(pinned):
    # What follows the plus names the build: torch 2.13.0+cpu is 2.13.0 for CPUs.
    installed = {normal(one.name): Version(Version(one.version).public) for one in metadata.distributions()}
    wrong = {
        name: f"installed {version}, pinned {pinned.get(name)}"
        for name, version in installed.items()
        if name not in UNPINNED and pinned.get(name) != version
    }
    assert not wrong, "constraints.txt does not describe this environment; if it is an old one, delete .venv"


def test_everything_the_package_asks_for_is_pinned_within_what_it_allows(pinned):
    requirements = [Requirement(text) for text in metadata.requires("modelcollapse")]
    assert len(requirements) > 20
    for requirement in requirements:
        assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement


def test_the_version_is_that_of_the_metadata_and_of_the_citation(repository):
    assert modelcollapse.__version__ == metadata.version("modelcollapse")
    assert f"\nversion: {modelcollapse.__version__}\n" in (repository / "CITATION.cff").read_text()
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = modelcollapse.no_such_name


def test_results_stays_a_function_whatever_is_imported(tmp_path):
    from modelcollapse.record.run_tables import CHAIN_COLUMNS

    identity = ChainIdentity("id", "experiment", "family", "model", "replace", 3)
    with Record(tmp_path / "run", identity, {}) as record:
        record.generation(0, {"test/perplexity": 2.0})
    table = modelcollapse.results(tmp_path)
    assert [table.loc[0, column] for column in CHAIN_COLUMNS] == ["experiment", "family", "model", "replace", 3]
    assert table.loc[0, "test/perplexity"] == 2.0


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'pandas', 'numpy', 'hydra', 'wandb', 'matplotlib'}"
    program = f"import sys, modelcollapse, modelcollapse.config.settings; print(sorted({heavy} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"


def test_a_run_without_a_browser_says_so_above_the_closing_line(repository, tmp_path):
    program = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/report/test_browser.py"]
    without = {**os.environ, "PATH": str(tmp_path)}
    finished = subprocess.run(program, cwd=repository, env=without, capture_output=True, text=True)
    said, closing = finished.stdout.splitlines()[-2:]
    assert re.fullmatch(r"The page was not tested in a browser: \d+ tests need chromium and chromedriver.*", said)
    assert re.search(r"= \d+ skipped in ", closing)


# ---- the wheel ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unpacked(repository, tmp_path_factory):
    """A wheel, built without a network from a copy of what it is made of, and unpacked."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    parts = ("pyproject.toml", "README.md", "LICENSE", "src", "conf")
    for part in parts:
        copy = shutil.copytree if (repository / part).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(repository / part, source / part)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", place, source], check=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "unpacked")
    return place / "unpacked"


def test_the_wheel_holds_the_whole_configuration_and_the_licence(repository, unpacked):
    conf = repository / "conf"
    wanted = {path.relative_to(conf): path.read_bytes() for path in conf.rglob("*.yaml")}
    held = unpacked / "modelcollapse" / "conf"
    assert {path.relative_to(held): path.read_bytes() for path in held.rglob("*.yaml")} == wanted
    assert len(wanted) > 20
    (licence,) = unpacked.glob("modelcollapse-*.dist-info/licenses/LICENSE")
    assert licence.read_text().startswith("MIT License")
    entry_points = next(unpacked.glob("modelcollapse-*.dist-info/entry_points.txt")).read_text()
    assert "modelcollapse = modelcollapse.commands.subcommands:main" in entry_points


def test_the_wheel_holds_what_the_page_of_a_report_is_made_of(repository, unpacked):
    templates = {path.name for path in (repository / "src" / "modelcollapse" / "report" / "templates").iterdir()}
    assert templates == {"report.html", "report.css", "report.js"}
    assert templates == {path.name for path in (unpacked / "modelcollapse" / "report" / "templates").iterdir()}


def run_script(unpacked, cwd, *overrides, command="train"):
    """Call the console script's function out of the unpacked wheel, as the installed script would."""
    script = "import sys; from modelcollapse.commands.subcommands import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", script, command, *overrides],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_installed_script_finds_the_configuration_in_the_wheel(unpacked, tmp_path, command):
    proof = unpacked / "modelcollapse" / "conf" / "experiment" / "only_in_this_wheel.yaml"
    proof.write_text("# @package _global_\nname: proof of the wheel\ngenerations: 7\n")
    finished = run_script(unpacked, tmp_path, "experiment=only_in_this_wheel", "--cfg", "job", command=command)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "name: proof of the wheel\n" in finished.stdout
    assert "generations: 7\n" in finished.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_installed_script_plans_a_chain(unpacked, tmp_path):
    finished = run_script(unpacked, tmp_path, "plan=true", "generations=1", f"paths.store={tmp_path / 'store'}")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "generation 1 · fit" in finished.stdout
    assert "nothing computed now" in finished.stdout


# ---- the page of settings -------------------------------------------------------------------------------------


def test_the_page_of_settings_is_up_to_date(repository):
    made = "python -m modelcollapse.commands.settings_document > docs/settings.md"
    assert settings_document.page() == (repository / "docs" / "settings.md").read_text(), f"make it anew: {made}"


def test_every_setting_says_what_it_means():
    members = [member for kind, _ in MEMBER_GROUPS.values() for member in registry(kind).members()]
    classes = {ChainSettings, *(member.settings for member in members)}
    for cls in classes:
        assert {field.name for field in dataclasses.fields(cls)} == set(settings_document.field_meanings(cls))
