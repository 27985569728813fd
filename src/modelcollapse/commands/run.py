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
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from modelcollapse.command_line import PROGRAM, arguments_kept, program, sibling, typed_line
from modelcollapse.config.composing import HYDRA_VERSION_BASE, known_errors, settings_of
from modelcollapse.config.extensions import prepared_configuration, use_config_dirs
from modelcollapse.config.hydra_internals import made_folders, parsed, remove_empty
from modelcollapse.credentials import without_secrets
from modelcollapse.errors import Interrupted, UserError, interruptible
from modelcollapse.output import NotPrinted, lost_output, surviving_output, verify_printed
from modelcollapse.registry import safe_imports, use_script
from modelcollapse.surroundings import own_process

if TYPE_CHECKING:
    from modelcollapse.chain_session import FinishedChain
    from modelcollapse.config.settings import ChainSettings
    from modelcollapse.record import RunState


NOT_PRINTED, USER_ERROR = 1, 2
MULTIRUN = ("--multirun", "-m")
MULTIRUN_MODE = "hydra.mode=MULTIRUN"
SWEEP = "--sweep"
"""Flag of a script that makes it sweep.py, for a grid that its experiment brings."""
HELP = ("--help", "-h")
INFORMATION = (*HELP, "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")
"""Hydra's flags that run nothing."""


def train() -> None:
    """Run one chain, or with ``--multirun`` several."""
    with _reported_errors():
        arguments = use_config_dirs(sys.argv[1:])
        _refuse_flags(arguments)
        overrides = [argument for argument in arguments if argument not in (*MULTIRUN, MULTIRUN_MODE)]
        folder = prepared_configuration()
        if "--version" in arguments:
            _print_version()
        elif len(overrides) == len(arguments) or {*INFORMATION} & {*arguments}:
            _through_hydra("train", folder, arguments)
        else:
            from modelcollapse.sweeps.multirun import run_multirun

            # Hydra takes no overrides on both sides of a flag.
            run_multirun(overrides, lambda words: _through_hydra("train", folder, [*words, MULTIRUN[0]]))


def sweep() -> None:
    """Run a grid of chains and report on it."""
    with _reported_errors():
        arguments = use_config_dirs(sys.argv[1:])
        overrides = [override for override in arguments if override not in (*MULTIRUN, SWEEP)]
        if "--version" in overrides:
            _print_version()
        elif {*INFORMATION} & {*overrides}:
            _through_hydra("sweep", prepared_configuration(), overrides)
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
        use_script(Path(script).resolve())
    (sweep if _is_grid(sys.argv[1:]) else train)()


def _is_grid(arguments: Sequence[str]) -> bool:
    """Whether the arguments name several chains, and not for Hydra's own multirun."""
    if SWEEP in arguments:
        return True
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    if {*MULTIRUN, MULTIRUN_MODE} & {*arguments}:
        return False
    with suppress(HydraException):
        return any(override.is_sweep_override() for override in parsed(overrides))
    # Invalid overrides are for the command itself to report.
    return False


def _refuse_flags(arguments: Sequence[str]) -> None:
    if any(argument.partition("=")[0] == "--experimental-rerun" for argument in arguments):
        raise UserError(
            "--experimental-rerun: it would load a pickle, which can run code; .hydra/overrides.yaml has what was typed"
        )


def _print_version() -> None:
    from importlib.metadata import version

    print(f"{PROGRAM} {version(PROGRAM)}")
    verify_printed()


def _through_hydra(configuration: str, folder: str, arguments: Sequence[str]) -> None:
    more = _names_in_help() if {*HELP} & {*arguments} else []
    before, sys.argv = sys.argv, [sys.argv[0], *arguments, *more]
    command = os.getpid()

    def job(config: DictConfig) -> float | None:
        if os.getpid() == command:
            return _job(config)
        from modelcollapse.sweeps.helpers import job_of

        with job_of(command, to_its_end=False):
            return _job(config)

    try:
        hydra.main(version_base=HYDRA_VERSION_BASE, config_path=folder, config_name=configuration)(job)()
        if {*INFORMATION} & {*arguments}:
            verify_printed()
    finally:
        sys.argv = before


def _names_in_help() -> list[str]:
    """Overrides with which the help names the command that was typed, and the one that runs a grid."""
    command = program()
    # A script that calls main() runs its grids itself.
    is_own = Path(command[-1]).name not in ("train", "train.py", "sweep", "sweep.py")
    names = {"app_name": command, "footer": command if is_own else sibling(command, "sweep")}
    texts = {place: shlex.join(words) for place, words in names.items()}
    # A $ would be a reference in Hydra's help.
    return [f"hydra.help.{place}={_quoted(text)}" for place, text in texts.items() if "$" not in text]


def _quoted(text: str) -> str:
    """The text in Hydra's grammar, which reads it back as it is."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@contextmanager
def _reported_errors() -> Iterator[None]:
    """Print what went wrong, and exit with the code of its kind."""
    # Hydra then raises its errors instead of printing them, and the message can name the right overrides.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with own_process(), surviving_output(), _exit_codes():
        yield
        if lost := lost_output():
            _print_error(f"warning: {lost}; the work was not affected")


@contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        with interruptible(), safe_imports(), arguments_kept():
            yield
    except Interrupted as interruption:
        _print_error(
            f"\nStopped by {interruption}. What was finished is kept;"
            f" the same command goes on where it stopped:\n  {typed_line()}"
        )
        sys.exit(interruption.exit_code)
    except HydraException as error:
        from modelcollapse.config.explaining import explained

        _print_error(explained(error))
        sys.exit(USER_ERROR)
    except OmegaConfBaseException as error:
        from modelcollapse.config.explaining import unresolved

        # Of Hydra's own settings, which it resolves before the job begins.
        _print_error(unresolved(error))
        sys.exit(USER_ERROR)
    except NotPrinted as error:
        _print_error(f"error: {error}")
        sys.exit(NOT_PRINTED)
    except PrintedError:
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
    except Exception as error:
        # Python's traceback follows, which has these notes at its end.
        for note in getattr(error, "__notes__", ()):
            _print_error(f"error {note}")
        raise


class PrintedError(UserError):
    """A user's error that was printed already: in a multirun the other chains go on."""


def _job(config: DictConfig) -> float | None:
    """Run one chain; returns its objective, for a sweeper that optimises it."""
    try:
        return _chain(config)
    except NotPrinted as error:
        _print_error(f"error: {error}")
        sys.exit(NOT_PRINTED)
    except UserError as error:
        _print_error(f"error: {error}")
        if HydraConfig.get().mode is RunMode.RUN:
            sys.exit(USER_ERROR)
        raise PrintedError(str(error)) from error


def _chain(config: DictConfig) -> float | None:
    from modelcollapse.record import RunState

    of_hydra = HydraConfig.get()
    output = Path(of_hydra.runtime.output_dir)
    made = made_folders()
    if of_hydra.mode is RunMode.MULTIRUN:
        # A sweeper may write into the folder of the sweep, however empty it is.
        made = tuple(folder for folder in made if Path(of_hydra.sweep.dir).absolute() in folder.parents)
    # As typed, without resolving it: settings that cannot be read are to be in the run's error too.
    is_plan = OmegaConf.to_container(config, resolve=False)["plan"] is True  # type: ignore[index, call-overload]
    with (
        no_empty_folder(made),
        _claimed(output, is_plan) as folder,
        RunState(None if is_plan else folder) as state,
        known_errors(),
    ):
        settings, values = settings_of(config)
        if settings.plan:
            _print_plan(settings, folder)
            return None
        finished = _run_chain(settings, folder, config, values, state)
        return _objective(settings, finished)


@contextmanager
def _claimed(output: Path, is_plan: bool) -> Iterator[Path]:
    """Claim the run folder, or one beside it where its name is of the time, which Hydra's configuration then names."""
    from modelcollapse.record.claiming import claimed, is_named_by_time

    if is_plan:
        yield output
        return
    of_hydra = HydraConfig.get()
    written = str(OmegaConf.to_container(of_hydra.run, resolve=False)["dir"])  # type: ignore[index, call-overload]
    by_time = of_hydra.mode is RunMode.RUN and is_named_by_time(written)
    with claimed(output, "run", by_time=by_time) as folder:
        if folder != output:
            with read_write(of_hydra):  # type: ignore[arg-type]
                of_hydra.runtime.output_dir = str(folder)
        yield folder


def _print_plan(settings: "ChainSettings", folder: Path) -> None:
    from modelcollapse.chain import chain_artifacts
    from modelcollapse.chain_session import check_objective, family_and_store
    from modelcollapse.console import ChainReporter, print_plan
    from modelcollapse.record.claiming import overlap_problem

    family, store = family_and_store(settings, ChainReporter(settings, folder))
    check_objective(settings, family)
    kinds = {artifact.kind for artifact in chain_artifacts(settings, family)}
    if problem := overlap_problem(folder, "run", store.root, kinds):
        raise UserError(problem)
    print_plan(settings, family, store)
    verify_printed()


def _run_chain(
    settings: "ChainSettings", folder: Path, config: DictConfig, values: dict[str, Any], state: "RunState"
) -> "FinishedChain":
    from modelcollapse.chain_session import run_settings
    from modelcollapse.commands.hydra_files import write_hydra_files
    from modelcollapse.console import ChainReporter, print_messages

    print_messages()
    reporter = ChainReporter(settings, folder)
    return run_settings(settings, values, folder, state, reporter, lambda: write_hydra_files(folder, config))


def _objective(settings: "ChainSettings", finished: "FinishedChain") -> float | None:
    """The objective of the chain; it is printed in a multirun, where somebody may compare it."""
    from modelcollapse.config.objective import objective_of

    name, value = objective_of(settings.objective, finished.family, finished.metrics)
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        print(f"objective  {name}: {'not a finite number' if value is None else f'{value:.6g}'}", flush=True)
    return value


@contextmanager
def no_empty_folder(made: Sequence[Path]) -> Iterator[None]:
    """Take folders, which this process makes, away again if nothing is written to them; the innermost come first."""
    try:
        yield
    finally:
        remove_empty(made)


def _print_error(text: str) -> None:
    print(without_secrets(text), file=sys.stderr, flush=True)
