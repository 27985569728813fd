"""The hooks into Hydra's and OmegaConf's internals: the versions that they hold for, and that nothing else has any."""

import re
from importlib.metadata import version

import pytest

from conftest import ROOT
from modelcollapse.config.hydra_internals import HOLDS_FOR

INTERNALS = re.compile(
    r"hydra\._internal|hydra\.core\.plugins|hydra\.core\.override_parser|omegaconf\.basecontainer|hydra\.core\.utils"
)


@pytest.mark.parametrize("distribution", HOLDS_FOR)
def test_the_versions_that_the_hooks_hold_for(distribution):
    installed, tried = version(distribution), HOLDS_FOR[distribution]
    assert installed in tried, (
        f"{distribution} {installed} is installed, and config/hydra_internals.py was tried with {', '.join(tried)}."
        " Read what changed in the classes and functions that it imports, run tests/config, tests/sweeps,"
        " tests/trust/test_settings_are_data.py and tests/commands/test_run.py, and add the version to HOLDS_FOR"
    )


def test_nothing_else_reaches_into_the_internals():
    reaching = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "src").rglob("*.py"))
        if re.search(rf"^\s*(from|import) ({INTERNALS.pattern})", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert reaching == ["src/modelcollapse/config/hydra_internals.py"]
