"""Runs one chain from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException

from modelcollapse.command_line import called_as
from modelcollapse.commands.run import no_empty_folder
from modelcollapse.config.composing import HYDRA_VERSION_BASE, python_errors, settings_of
from modelcollapse.config.explaining import explained
from modelcollapse.config.extensions import prepared_configuration, use_config_dirs
from modelcollapse.config.hydra_internals import missing_folders
from modelcollapse.config.settings import ChainSettings
from modelcollapse.interactive.display import shown
from modelcollapse.interactive.isolation import short_tracebacks, unchanged_libraries, unchanged_process
from modelcollapse.interactive.members import importing_members, processes_of
from modelcollapse.interactive.overrides import has_several_values, overrides_of
from modelcollapse.interactive.runs import Run
from modelcollapse.record import RunState
from modelcollapse.record.claiming import claimed
from modelcollapse.registry import safe_imports
from modelcollapse.settings import SettingsError

if TYPE_CHECKING:
    from modelcollapse.chain_session import FinishedChain, Reporter


@short_tracebacks
def run(*overrides: str, folder: str | os.PathLike[str] | None = None, **settings: Any) -> Run:
    """Run one chain of generations in this process; what the store holds is not computed again.

    Overrides are those of ``train.py``: as text, or as ``name=value``, where a mapping holds the settings below a
    group. Values are text, numbers, booleans, None, and lists and mappings of these::

        run = mc.run("experiment=quickstart", "regime=accumulate", seed=3, model={"training": {"epochs": 2}})
        run.generations                        # a row a generation
        run.figures["perplexity_by_generation"]
        run.model(4), run.synthetic(4)

    An interrupted call keeps what was finished; the same call goes on where it stopped.

    Args:
        *overrides: as typed after ``train.py``; ``--config-dir=FOLDER`` among them.
        folder: the run folder; by default ``outputs/<date>/<time>``.
        **settings: further overrides by name.

    Returns:
        The record of the run.

    Raises:
        SettingsError: the settings are not allowed; ``problems`` holds everything that is wrong. Nothing was written.
        UserError: something else that the user can fix, such as data that are not there, or a full disk.
        KeyboardInterrupt: the call was interrupted.
        Exception: whatever registered code raises, with the stage in a note.
    """
    with unchanged_process(), python_errors():
        words = overrides_of(overrides, settings)
        chain, values, target = composed(words, folder)
        with no_empty_folder(missing_folders(target)), claimed(target, "run", by_time=folder is None) as place:
            processes = importing_members([chain], place, processes_of([chain]))
            with processes, safe_imports(), unchanged_libraries(), shown(chain, place) as reporter:
                finished = run_in(place, chain, values, reporter, words)
        return Run(place.absolute(), finished.store.root)


def run_in(
    folder: Path, settings: ChainSettings, values: Mapping[str, Any], reporter: Reporter, overrides: Sequence[str]
) -> FinishedChain:
    """Run the chain of these settings, which the overrides were composed to, into a folder."""
    from modelcollapse.chain_session import run_settings

    with RunState(folder) as state, called_as(call_of("run", overrides)):
        return run_settings(settings, values, folder, state, reporter)


def call_of(function: str, overrides: Sequence[str]) -> str:
    """The call of a function of this package, for the record."""
    return f"modelcollapse.{function}({', '.join(map(repr, overrides))})"


def composed(
    overrides: Sequence[str], folder: str | os.PathLike[str] | None = None
) -> tuple[ChainSettings, dict[str, Any], Path]:
    """The settings of a chain, the configuration as plain values, and the run folder.

    Raises SettingsError with every problem found.
    """
    words = use_config_dirs(overrides)
    _refuse(words)
    with initialize_config_dir(prepared_configuration(), version_base=HYDRA_VERSION_BASE):
        try:
            config = compose("train", overrides=words, return_hydra_config=True)
            target = Path(config.hydra.run.dir if folder is None else folder)
        except HydraException as error:
            raise SettingsError([explained(error)]) from error
        except OmegaConfBaseException as error:
            raise SettingsError([str(error).splitlines()[0]]) from error
    with open_dict(config):
        del config["hydra"]
    settings, values = settings_of(config)
    return settings, values, target


def _refuse(words: Sequence[str]) -> None:
    problems = [f"{word}: a flag of the command line, which is of no use here" for word in words if word[:1] == "-"]
    settings = [word for word in words if word[:1] != "-"]
    several = has_several_values(settings)
    problems += [f"{word}: several values; modelcollapse.sweep runs a chain for each" for word in several]
    problems += [
        f"{word}: modelcollapse.plan(...) returns the plan of a chain"
        for word in settings
        if word.partition("=")[0] == "plan"
    ]
    if problems:
        raise SettingsError(problems)
