"""The list of licences names everything that is pinned, and so everything that any build of torch brings."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROW = re.compile(r"\| (\S+) +\| (\S+) +\| (.+?) +\|")
EXTRAS = ("test", "launchers", "optuna", "tensorboard", "docs", "benchmarks")
WITHOUT_SOFTWARE = {"cuda-toolkit"}
"""Packages that only name others, and state no licence."""


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def listed(repository):
    """Name -> (version, licence)."""
    rows = ROW.findall((repository / "docs" / "licences.md").read_text())
    versions = {normal(name): (version, licence) for name, version, licence in rows if name != "Name"}
    return {name: (Version(Version(version).public), licence) for name, (version, licence) in versions.items()}


@pytest.fixture(scope="module")
def pinned(repository):
    """Name -> version."""
    lines = (repository / "constraints.txt").read_text().splitlines()
    return {normal(line.split("==")[0]): Version(line.split("==")[1]) for line in lines if "==" in line}


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


def test_everything_that_is_pulled_in_is_listed(listed):
    names = needed("modelcollapse", ("", *EXTRAS), set())
    assert len(names) > 80
    assert {"torch", "hydra-core", "markupsafe", "pytest"} <= names
    assert names <= set(listed)


def test_what_is_listed_is_what_is_pinned_for_every_build_and_platform(listed, pinned):
    assert {name: version for name, (version, _) in listed.items()} == pinned, "make docs/licences.md anew, as it says"
    assert {"nvidia-nvjitlink", "cuda-toolkit", "triton"} <= set(listed), "made with a build that brings less"


def test_every_licence_is_named(listed):
    nameless = {name for name, (_, licence) in listed.items() if licence in ("", "UNKNOWN")}
    assert nameless <= WITHOUT_SOFTWARE
