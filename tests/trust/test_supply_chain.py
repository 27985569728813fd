"""The list of licences names everything that is installed for the package, as it is pinned."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

ROW = re.compile(r"\| (\S+) +\| (\S+) +\| (.+?) +\|")
EXTRAS = ("test", "launchers", "benchmarks")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def listed(repository):
    """Name -> (version, licence)."""
    rows = ROW.findall((repository / "docs" / "licences.md").read_text())
    return {normal(name): (version.split("+")[0], licence) for name, version, licence in rows if name != "Name"}


@pytest.fixture(scope="module")
def pinned(repository):
    lines = (repository / "constraints.txt").read_text().splitlines()
    return {normal(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}


def needed(name, extras, found):
    """Add the names of what a distribution asks for, and of what those ask for, as far as it is installed."""
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        wanted = [requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in extras]
        if any(wanted) and normal(requirement.name) not in found and is_installed(requirement.name):
            found.add(normal(requirement.name))
            needed(requirement.name, ("", *requirement.extras), found)
    return found


def is_installed(name):
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def test_the_licence_of_everything_that_is_pulled_in_is_listed(listed, pinned):
    names = needed("modelcollapse", ("", *EXTRAS), set())
    assert len(names) > 80
    assert {"torch", "hydra-core", "markupsafe", "pytest"} <= names
    for name in names:
        version, licence = listed[name]
        assert version == pinned[name], f"{name}: make docs/licences.md anew, as it says"
        assert licence not in ("", "UNKNOWN"), name


def test_nothing_is_listed_that_is_not_pinned(listed, pinned):
    assert {name: version for name, (version, _) in listed.items()}.items() <= pinned.items()
