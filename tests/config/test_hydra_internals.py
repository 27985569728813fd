"""The hooks into Hydra's and OmegaConf's internals: the versions that they hold for, and that nothing else has any."""

import re
from contextlib import suppress
from importlib.metadata import version

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from conftest import ROOT
from modelcollapse.config.extensions import prepared_configuration
from modelcollapse.config.hydra_internals import HOLDS_FOR, GuardedLoader

INTERNALS = re.compile(
    r"hydra\._internal|hydra\.core\.plugins|hydra\.core\.override_parser|omegaconf\.basecontainer|hydra\.core\.utils"
    r"|omegaconf\.base |omegaconf\.grammar_parser"
)


@pytest.mark.parametrize("distribution", HOLDS_FOR)
def test_the_versions_that_the_hooks_hold_for(distribution):
    installed, tried = version(distribution), HOLDS_FOR[distribution]
    assert installed in tried, (
        f"{distribution} {installed} is installed; hydra_internals.py and interpolations.py were tried with"
        f" {', '.join(tried)}. Read what changed in the classes and functions that they import, run tests/config,"
        " tests/sweeps, tests/trust/test_settings_are_data.py and tests/commands/test_run.py, and add the version to"
        " HOLDS_FOR"
    )


@pytest.fixture
def loader():
    """Makes a loader of our configuration, as hydra.main does."""

    Plugins.instance()
    setup_globals()
    folder = prepared_configuration()
    return lambda: GuardedLoader(create_config_search_path(folder))


def ask(loader, overrides):
    """Compose as Hydra does to ask for ``hydra.mode``, before a run."""
    with suppress(HydraException):
        loader.load_configuration("train", overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)


def test_what_was_composed_to_ask_for_the_mode_is_what_the_run_would_compose(loader, monkeypatch):
    overrides = ["experiment=paper_gmm", "seed=3", "hydra.run.dir=here"]
    asked = loader()
    ask(asked, overrides)
    run = [*overrides, "hydra.mode=RUN"]
    apart = loader().load_configuration("train", run, RunMode.RUN)
    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", None)
    taken = asked.load_configuration("train", run, RunMode.RUN)
    # As written: ``now`` resolves to another second.
    assert OmegaConf.to_container(taken, resolve=False) == OmegaConf.to_container(apart, resolve=False)


def test_only_the_run_that_was_asked_for_takes_it(loader):
    asked = loader()
    ask(asked, ["seed=3"])
    assert asked.load_configuration("train", ["seed=4", "hydra.mode=RUN"], RunMode.RUN).seed == 4
    assert asked.load_configuration("train", ["seed=3", "hydra.mode=RUN"], RunMode.RUN).seed == 3


def test_several_values_are_refused_whatever_was_asked(loader):
    asked = loader()
    ask(asked, ["seed=1,2"])
    with pytest.raises(HydraException, match="Ambiguous value"):
        asked.load_configuration("train", ["seed=1,2", "hydra.mode=RUN"], RunMode.RUN)


def test_nothing_else_reaches_into_the_internals():
    reaching = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "src").rglob("*.py"))
        if re.search(rf"^\s*(from|import) ({INTERNALS.pattern})", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert reaching == [
        f"src/modelcollapse/config/{name}.py" for name in ("grid_bounds", "hydra_internals", "interpolations")
    ]
