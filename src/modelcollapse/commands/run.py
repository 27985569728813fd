"""The command line: composes the configuration, reads it into settings, runs a chain or a grid, and prints errors.

Nothing heavy is imported before the settings have been read: ``--help``, ``--cfg job`` and a typo answer at once.
"""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modelcollapse.command_line import typed
from modelcollapse.config.composing import HYDRA_VERSION_BASE, explained, known_errors, settings_of, unresolved
from modelcollapse.config.extensions import prepared_configuration, use_config_dirs
from modelcollapse.config.hydra_internals import parsed
from modelcollapse.credentials import without_secrets
from modelcollapse.errors import Interrupted, UserError, interruptible
from modelcollapse.registry import SCRIPT_VARIABLE, safe_imports

if TYPE_CHECKING:
    from modelcollapse.config.settings import ChainSettings
    from modelcollapse.record import RunState


USER_ERROR = 2
MULTIRUN = ("--multirun", "-m")
SWEEP = "--sweep"
"""Flag of a script that makes it sweep.py, for a grid that its experiment brings."""
INFORMATION = ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")
"""Hydra's flags that run nothing."""


def train() -> None:
    """Run one chain, or with ``--multirun`` several."""
    with _reported_errors():
        sys.argv = _multirun_last(use_config_dirs(sys.argv))
        folder = prepared_configuration()
        try:
            _through_hydra("train", folder)
        except UserError:
            # Printed by _job.
            sys.exit(USER_ERROR)


def sweep() -> None:
    """Run a grid of chains and report on it."""
    with _reported_errors():
        arguments = use_config_dirs(sys.argv[1:])
        overrides = [override for override in arguments if override not in (*MULTIRUN, SWEEP)]
        if {*INFORMATION} & {*overrides}:
            sys.argv = [sys.argv[0], *overrides]
            _through_hydra("sweep", prepared_configuration())
        elif flags := [override for override in overrides if override.startswith("-")]:
            raise UserError(
                f"{' '.join(flags)}: sweep.py takes SETTING=VALUE, GROUP=OPTION, --config-dir DIR, and for information"
                " --help"
            )
        elif any(override.startswith("report=") for override in overrides):
            raise UserError("report=PATH: a report is written by: modelcollapse report PATH... [--to FOLDER]")
        else:
            from modelcollapse.sweeps.session import run_grid

            sys.exit(run_grid(overrides))


def main() -> None:
    """Run the chain, or the grid, that the command line describes, with all that the script has registered.

    To be called by a script: it is train.py, and with ``--sweep`` or a setting of several values sweep.py. The
    processes that it starts import the same script, under another name than ``__main__``, before they compose anything.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None:
        os.environ[SCRIPT_VARIABLE] = str(Path(script).resolve())
    (sweep if _is_grid(sys.argv[1:]) else train)()


def _is_grid(arguments: Sequence[str]) -> bool:
    """Whether the arguments name several chains, and not for Hydra's own multirun."""
    if SWEEP in arguments:
        return True
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    if {*MULTIRUN} & {*arguments}:
        return False
    with suppress(HydraException):
        return any(override.is_sweep_override() for override in parsed(overrides))
    # Invalid overrides are for the command itself to report.
    return False


def _multirun_last(arguments: list[str]) -> list[str]:
    """The command line with the multirun flag at its end: Hydra takes no overrides on both sides of a flag."""
    flags = [argument for argument in arguments if argument in MULTIRUN]
    return [argument for argument in arguments if argument not in MULTIRUN] + flags[:1]


def _through_hydra(configuration: str, folder: str) -> None:
    hydra.main(version_base=HYDRA_VERSION_BASE, config_path=folder, config_name=configuration)(_job)()


@contextmanager
def _reported_errors() -> Iterator[None]:
    """Print what went wrong, and exit with the code of its kind."""
    # Hydra then raises its errors instead of printing them, and the message can name the right overrides.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with interruptible(), safe_imports():
            yield
    except Interrupted as interruption:
        _print_error(
            f"\nStopped by {interruption}. What was finished is kept;"
            f" the same command goes on where it stopped:\n  {shlex.join(typed())}"
        )
        sys.exit(interruption.exit_code)
    except HydraException as error:
        _print_error(explained(error))
        sys.exit(USER_ERROR)
    except OmegaConfBaseException as error:
        # Of Hydra's own settings, which it resolves before the job begins.
        _print_error(unresolved(error))
        sys.exit(USER_ERROR)
    except UserError as error:
        _print_error(f"error: {error}")
        sys.exit(USER_ERROR)
    except OSError as error:
        # Of the run folder, which Hydra makes before the job begins.
        if error.filename is None:
            raise
        _print_error(f"error: {error.filename}: {error.strerror}")
        sys.exit(USER_ERROR)


def _job(config: DictConfig) -> None:
    """Run one chain. A user's error is printed at once: in a multirun the other chains go on."""
    try:
        _chain(config)
    except UserError as error:
        _print_error(f"error: {error}")
        if HydraConfig.get().mode is RunMode.RUN:
            sys.exit(USER_ERROR)
        raise


def _chain(config: DictConfig) -> None:
    from modelcollapse.record import RunState

    folder = Path(HydraConfig.get().runtime.output_dir)
    # As typed, without resolving it: settings that cannot be read are to be in the run's error too.
    is_plan = OmegaConf.to_container(config, resolve=False)["plan"] is True  # type: ignore[index, call-overload]
    with _no_empty_folder(folder), RunState(None if is_plan else folder) as state, known_errors():
        settings, values = settings_of(config)
        if settings.plan:
            _print_plan(settings, folder)
        else:
            _run_chain(settings, folder, values, state)


def _print_plan(settings: "ChainSettings", folder: Path) -> None:
    from modelcollapse.chain_session import family_and_store
    from modelcollapse.console import ChainReporter, print_plan

    family, store = family_and_store(settings, ChainReporter(settings, folder))
    print_plan(settings, family, store)


def _run_chain(settings: "ChainSettings", folder: Path, values: dict[str, Any], state: "RunState") -> None:
    from modelcollapse.chain_session import run_settings
    from modelcollapse.console import ChainReporter, print_messages

    print_messages()
    run_settings(settings, values, folder, state, ChainReporter(settings, folder))


@contextmanager
def _no_empty_folder(folder: Path) -> Iterator[None]:
    """Take the run folder away again if nothing was written to it, and the folders it left empty below where we are."""
    try:
        yield
    finally:
        here = Path.cwd()
        for candidate in (folder, *(above for above in folder.parents if here in above.parents)):
            if candidate.resolve() == here or not candidate.is_dir() or any(candidate.iterdir()):
                break
            candidate.rmdir()


def _print_error(text: str) -> None:
    print(without_secrets(text), file=sys.stderr, flush=True)
