"""The documents as a site: built strictly, complete, and read without a network."""

import json
import os
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from importlib import import_module

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import modelcollapse
from modelcollapse.config.settings import read_chain_settings

FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
"""Element -> the attribute whose address a browser fetches when it shows the page."""


class Fetches(HTMLParser):
    """Collects the addresses that a page fetches, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors.add(given.get("id"))
        if tag in FETCHED and given.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(given.get(FETCHED[tag]))


@pytest.fixture(scope="module")
def site(repository, tmp_path_factory):
    """The site, built strictly by somebody without a home folder."""
    place = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", place]
    surroundings = {**os.environ, "HOME": str(place / "none"), "NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run(build, cwd=repository, env=surroundings, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return place


def test_every_page_is_whole_and_fetches_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        for address in Fetches(page.read_text()).addresses:
            # The page of errors is for servers: its addresses begin at the root.
            assert not re.match(r"(https?:)?//", address or ""), (page, address)
            if address and page.name != "404.html" and not address.startswith("data:"):
                assert (page.parent / address.partition("?")[0].partition("#")[0]).exists(), (page, address)


def test_every_public_name_is_in_the_reference(site):
    anchors = {anchor for page in (site / "api").glob("*.html") for anchor in Fetches(page.read_text()).anchors}
    for name in (name for name in modelcollapse.__all__ if not name.startswith("_")):
        public = getattr(modelcollapse, name)
        places = {f"modelcollapse.{name}", f"{public.__module__}.{public.__qualname__}"}
        assert places & anchors, f"docs/api/index.md lacks ::: modelcollapse.{name}"


def test_files_outside_the_documents_are_pages_too(site):
    for linked in ("constraints.txt", "examples/shortest.py"):
        assert (site / f"{linked}.html").is_file()
    assert "constraints.txt.html" in (site / "supply_chain.html").read_text()
    assert "torch==" in (site / "constraints.txt.html").read_text()


def test_notebooks_are_pages_with_their_outputs(repository, site):
    for notebook in (repository / "docs" / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / f"{notebook.stem}.html").read_text()
        outputs = [output for cell in json.loads(notebook.read_text())["cells"] for output in cell.get("outputs", ())]
        pictures = [output for output in outputs if "image/png" in output.get("data", {})]
        assert page.count(f'src="{notebook.stem}_files/') == len(pictures)


# ---- the README -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readme(repository):
    return (repository / "README.md").read_text(encoding="utf-8")


def test_every_experiment_of_the_readme_can_be_composed(readme, compose_values, tmp_path):
    (tmp_path / "text.txt").write_text("A line.\n")
    found = [row.split("|")[1].strip().strip("`") for row in readme.splitlines() if row.startswith("| `experiment=")]
    assert len(found) > 6
    for overrides in found:
        given = overrides.replace("FILE", str(tmp_path / "text.txt")).replace("FOLDER", str(tmp_path))
        read_chain_settings(compose_values(*given.split()))


def test_the_script_of_the_readme_is_planned_as_printed(readme, tmp_path):
    (script,) = (text for text in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "mc.main()" in text)
    (command,) = re.findall(r"^python (reminded\.py .*)$", readme, re.MULTILINE)
    (tmp_path / "reminded.py").write_text(script)
    program = [sys.executable, *command.split(), "plan=true", "paths.store=store"]
    planned = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stderr
    assert "regime reminded" in planned.stdout


# ---- for people who join ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(repository):
    """The module that draws the pictures of docs/architecture.md."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository / "tools"))
        yield import_module("architecture_pictures")


@pytest.mark.parametrize("name", ["layers.svg", "generations.svg"])
def test_pictures_of_the_architecture_show_the_code(pictures, name):
    drawn = pictures.PICTURES[name]()
    committed = (pictures.FOLDER / name).read_text(encoding="utf-8")
    assert drawn == committed, "python tools/architecture_pictures.py draws them anew"


def test_every_part_is_in_the_table_of_the_architecture(repository, pictures):
    table = (repository / "docs" / "architecture.md").read_text()
    parts = {part for layer in pictures.layers() for part in layer if not part.startswith("_")}
    assert {part for part in parts if f"`{part}`" not in table} == set()


def test_hosted_tests_run_what_is_run_here_on_every_supported_python(repository):
    workflow = yaml.safe_load((repository / ".github" / "workflows" / "tests.yml").read_text())
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    supported = SpecifierSet(tomllib.loads((repository / "pyproject.toml").read_text())["project"]["requires-python"])
    assert matrix == [version for version in (f"3.{minor}" for minor in range(30)) if version in supported]
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in commands
    assert any(command.startswith("make docs") for command in commands)


def test_checks_before_a_commit_are_those_of_make_lint(repository):
    hooks = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    makefile = (repository / "Makefile").read_text()
    lint = makefile[makefile.index("\nlint:") : makefile.index("\ndocs:")]
    for hook in hooks:
        tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert tool in lint
        assert hook["language"] == "system"
    assert len(hooks) == 4


REPORTED = (
    *(f"W{number}" for number in range(1, 13)),
    *(f"S{number}" for number in range(1, 6)),
    *(f"C{number}" for number in range(1, 7)),
    *(f"M{number}" for number in range(1, 9)),
    "D1",
    "D2",
)
"""Names of what was reported, as the table of reliability has them."""


def test_every_report_has_a_row_and_every_test_that_a_page_names_is_there(repository):
    text = (repository / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+?) \|", text.partition("## Reports that were mended")[2], re.MULTILINE)
    assert not set(REPORTED) - {name for row in rows for name in row.split(", ")}
    named = set(re.findall(r"`((?:[\w/]+/)?test_\w+\.py)(?:::(test_\w+))?`", text))
    assert len(named) > 50
    files = {name: repository / "tests" / name.removeprefix("tests/") for name, _ in named}
    missing = [f"{name}::{test}" for name, test in named if not _has_test(files[name], test)]
    assert not missing


def _has_test(path, test):
    """Whether a file of tests is there, and has a test of that name where one is given."""
    return path.is_file() and (not test or f"def {test}(" in path.read_text(encoding="utf-8"))
