"""The command line: composes the configuration, reads it into settings, runs a chain, and speaks to people.

Nothing heavy is imported before the settings have been read: ``--help``, ``--cfg job`` and a typo answer at once.
"""

import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modelcollapse.errors import UserError
from modelcollapse.settings.chain import ChainSettings, read_chain_settings, refuse_foreign_groups
from modelcollapse.settings.reading import SettingsError, nearest

if TYPE_CHECKING:
    from modelcollapse.models.family import AnyFamily

USER_ERROR = 2
MULTIRUN = ("--multirun", "-m")


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM: not an error, and nothing that a library may swallow."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def configuration_folder() -> Path:
    """The folder ``conf``: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def train() -> None:
    """Run one chain, or with ``--multirun`` several."""
    _run("train")


def sweep() -> None:
    """Run a grid of chains: train's multirun, with the grid of ``conf/sweep.yaml`` or of an experiment."""
    if not {*MULTIRUN, "--cfg", "-c", "--help"} & set(sys.argv):
        sys.argv.append("--multirun")
    _run("sweep")


def _multirun_last(words: list[str]) -> list[str]:
    """The command line with the multirun flag at its end: Hydra takes no words on both sides of a flag."""
    flags = [word for word in words if word in MULTIRUN]
    return [word for word in words if word not in MULTIRUN] + flags[:1]


def _run(configuration: str) -> None:
    # Hydra then raises its errors instead of printing them, and we say what to type instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = _multirun_last(sys.argv)
    job = hydra.main(version_base="1.3", config_path=str(configuration_folder()), config_name=configuration)(_job)
    try:
        with _interruptible():
            job()
    except Interrupted as interruption:
        _say(
            f"\nStopped by {interruption}. What was finished is kept;"
            f" the same command goes on where it stopped:\n  {_command()}"
        )
        sys.exit(interruption.exit_code)
    except HydraException as error:
        _say(_helpful(error))
        sys.exit(USER_ERROR)
    except UserError:
        sys.exit(USER_ERROR)


def _job(config: DictConfig) -> None:
    """One chain. A user's error is told where it happens: in a multirun the other chains go on."""
    try:
        _chain(config)
    except UserError as error:
        _say(f"error: {error}")
        if HydraConfig.get().mode is RunMode.RUN:
            sys.exit(USER_ERROR)
        raise


def _chain(config: DictConfig) -> None:
    folder = Path(HydraConfig.get().runtime.output_dir)
    with _no_empty_folder(folder), _known_errors():
        unresolved = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
        if missing := sorted(_missing(unresolved)):
            raise SettingsError([f"{setting}: must be given ({setting}=...)" for setting in missing])
        refuse_foreign_groups(unresolved)
        values = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        settings = read_chain_settings(values)
        if settings.plan:
            _print_plan(settings)
        else:
            _run_chain(settings, folder, values)


def _missing(values: Any, path: str = "") -> Iterator[str]:
    """Settings without a value. OmegaConf's own search stops at a setting that refers to one of them."""
    if values == "???":
        yield path
    elif isinstance(values, dict):
        for name, value in values.items():
            yield from _missing(value, f"{path}.{name}" if path else str(name))


def _print_plan(settings: ChainSettings) -> None:
    from modelcollapse.console import print_plan

    family, store = _family_and_store(settings, lambda generation, line: None)
    print_plan(settings, family, store)


def _run_chain(settings: ChainSettings, folder: Path, values: dict[str, Any]) -> None:
    from modelcollapse.chain import chain_id, run_chain
    from modelcollapse.console import ChainReporter, print_messages
    from modelcollapse.execution.trainer import prepare_process
    from modelcollapse.record import ChainIdentity, Record
    from modelcollapse.reporting import write_report
    from modelcollapse.tracking import views

    prepare_process(settings.trainer)
    print_messages()
    reporter = ChainReporter(settings, folder)
    listeners: list[Callable[..., None]] = []
    family, store = _family_and_store(settings, lambda generation, line: [tell(generation, line) for tell in listeners])
    reporter.start(family, store)
    identity = ChainIdentity(
        id=chain_id(settings),
        experiment=settings.name,
        family=family.name,
        model=family.title,
        regime=settings.regime.name,
        seed=settings.seed,
        tags=settings.tracking.tags,
    )
    with Record(folder, identity, values, views(settings.tracking)) as record:
        listeners.append(record.epoch)
        works = []
        for work in run_chain(settings, family, store, record):
            reporter.generation(work)
            works.append(work)
        figures = write_report(record, family, works, settings)
    reporter.finish(works, figures, store)


def _family_and_store(settings: ChainSettings, on_epoch: Any) -> "tuple[AnyFamily, Any]":
    from modelcollapse.console import announce, console
    from modelcollapse.execution.trainer import Execution
    from modelcollapse.models import family_for
    from modelcollapse.store import Store

    shown = console() if settings.trainer.progress else None
    family = family_for(settings, Execution(settings.trainer, shown, on_epoch))
    root = Path(settings.paths.store).expanduser()
    return family, Store(root, announce=announce, on_damage=settings.store.on_damage)


@contextmanager
def _known_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one message."""
    from modelcollapse.regimes import DrawError
    from modelcollapse.store import Damaged

    try:
        yield
    except SettingsError as error:
        raise UserError(_counted(error.problems)) from error
    except (DrawError, Damaged) as error:
        raise UserError(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}") from error


@contextmanager
def _no_empty_folder(folder: Path) -> Iterator[None]:
    """Take the run folder away again if nothing was written to it, and the folders it left empty below where we are."""
    try:
        yield
    finally:
        here = Path.cwd()
        for candidate in (folder, *(above for above in folder.parents if here in above.parents)):
            if not candidate.is_dir() or any(candidate.iterdir()):
                break
            candidate.rmdir()


@contextmanager
def _interruptible() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _command() -> str:
    return shlex.join(["python", *sys.argv])


def _counted(problems: tuple[str, ...]) -> str:
    heading = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{heading} in the configuration:\n" + "\n".join(f"  {problem}" for problem in problems)


def _helpful(error: HydraException) -> str:
    """Hydra's message, and the words that would have been right."""
    text = str(error).strip()
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None and cause.key is not None:
        setting = str(cause.full_key or cause.key)
        group = [str(name) for name in cast(DictConfig, cause.parent_node)]
        known = group if "." in setting else [*_groups(), *_top_level_settings()]
        return f"{setting}: no such setting{nearest(str(cause.key), known)}; there are: {', '.join(sorted({*known}))}"
    unknown_group = re.search(r"Could not override '([^']+)'.*No match in the defaults list", text, re.DOTALL)
    if unknown_group:
        known = sorted({*_groups(), *_top_level_settings()})
        word = unknown_group.group(1)
        return f"{word}: no such setting{nearest(word, known)}; there are: {', '.join(known)}"
    unknown_option = re.search(r"Could not find '([^/']+)/([^']+)'", text)
    if unknown_option:
        option_group, word = unknown_option.groups()
        known = _options(option_group)
        suggestion = nearest(word, known)
        return f"{option_group}={word}: there is no such {option_group}{suggestion}; there are: {', '.join(known)}"
    return text


def _groups() -> list[str]:
    return [path.name for path in configuration_folder().iterdir() if path.is_dir()]


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (configuration_folder() / group).glob("*.yaml"))


def _top_level_settings() -> list[str]:
    from dataclasses import fields

    return [field.name for field in fields(ChainSettings)]
