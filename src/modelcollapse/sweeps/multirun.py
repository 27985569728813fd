"""Hydra's own multirun, ``train.py -m``: what is settled before Hydra begins, and what is shown afterwards.

With Hydra's basic sweeper nothing is changed. An optimising sweeper chooses the values of its trials by what the
finished ones returned, their :mod:`objective <modelcollapse.config.objective>`. For it,

* what an experiment brings for ``sweep.py`` in ``hydra.sweeper.params`` is no dimension of the search: dimensions are
  what is typed, and what the search of the group ``hparams_search`` brings;
* the settings of one trial are read before anything runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modelcollapse.config import automatic
from modelcollapse.config.composing import HYDRA_VERSION_BASE, counted, settings_of
from modelcollapse.config.extensions import prepared_configuration
from modelcollapse.config.grid_bounds import check_grid
from modelcollapse.config.hydra_internals import Interval, Override, missing_folders, parsed, remove_empty
from modelcollapse.errors import UserError
from modelcollapse.record.claiming import is_named_by_time, made_anew
from modelcollapse.settings import SettingsError
from modelcollapse.sweeps.points import SEARCH_GROUP, written_sweep_folder
from modelcollapse.sweeps.runner import quoted

if TYPE_CHECKING:
    from modelcollapse.config.settings import ChainSettings

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
WITHOUT_A_GRID = "quickstart"
RESULT_FILE = "optimization_results.yaml"
"""What the optimising sweeper writes into the folder of the sweep."""
NO_TRIAL = "No trials are completed"
"""What it says when none has a value."""
GRID_ENDED = "`Study.stop` is supposed to be invoked inside"
"""What it raises where the last trial of the sampler ``grid`` has failed."""
WITHIN = 0.382
"""Where in an interval the value lies that is tried beforehand: at no whole number of a short one."""


@dataclass(frozen=True)
class Multirun:
    """What Hydra is started with."""

    overrides: tuple[str, ...]
    optimises: bool
    """Whether a sweeper chooses the values of the trials."""
    folder: Path | None
    """Where the sweep writes; None where that follows from the job."""
    is_plan: bool
    made: tuple[Path, ...]
    """The folder and those above it that were not there, the innermost first."""


def run_multirun(overrides: Sequence[str], start: Callable[[Sequence[str]], None]) -> None:
    """Run ``start``, which is Hydra's multirun, with the overrides, and show the best trial of a search.

    Raises UserError where a search cannot be run, or none of its trials had a value.
    """
    multirun = read_multirun(overrides)
    written = None if multirun.folder is None else multirun.folder / "multirun.yaml"
    before = written.read_bytes() if written is not None and written.is_file() else None
    try:
        start(multirun.overrides)
    except ValueError as error:
        if NO_TRIAL not in str(error):
            raise
        raise UserError("no trial ended with a value of the objective; why is above") from error
    except RuntimeError as error:
        if GRID_ENDED not in str(error):
            raise
        raise UserError("hydra/sweeper/sampler=grid: its last trial failed; a grid is run by sweep.py") from error
    finally:
        if written is not None and multirun.is_plan:
            _put_back(written, before)
        remove_empty(multirun.made)
    if multirun.optimises and multirun.folder is not None:
        print(_best_trial(multirun.folder / RESULT_FILE), flush=True)


def read_multirun(overrides: Sequence[str]) -> Multirun:
    """What Hydra is to be started with for these overrides."""
    with initialize_config_dir(prepared_configuration(), version_base=HYDRA_VERSION_BASE):
        typed = parsed(overrides)
        common = [str(override.input_line) for override in typed if not override.is_sweep_override()]
        base = compose("train", overrides=common, return_hydra_config=True)
        is_plan = base.plan is True
        if base.hydra.sweeper._target_ == BASIC:
            brought = base.hydra.sweeper.get("params") or {}
            check_grid([*parsed([f"{name}={value}" for name, value in brought.items()]), *typed])
            words, optimises = list(overrides), False
        elif is_plan:
            raise UserError(
                "plan=true: the trials of a search follow from the results of those before; without -m and"
                " hydra/sweeper it is the plan of one chain"
            )
        else:
            # The last one counts, as everywhere; the sweeper would let one that is fixed win.
            latest = {each.get_key_element(): each for each in parsed([*_asked_for(typed), *overrides])}
            check_grid([each for each in latest.values() if _is_made_whole(each, base.hydra.sweeper)])
            _check_one_trial([*latest.values()])
            words, optimises = [*(str(each.input_line) for each in latest.values()), "hydra.sweeper.params=null"], True
    # What is refused has made no folder.
    folder = _sweep_folder(base)
    made = () if folder is None else missing_folders(folder)
    if folder is not None and not is_plan and is_named_by_time(written_sweep_folder(base)):
        folder = made_anew(folder)
        # Where its name was taken, it is one beside.
        made = (folder, *made[1:])
    place = () if folder is None else (f"hydra.sweep.dir={quoted(folder)}",)
    return Multirun((*words, *_engine(base), *place), optimises, folder, is_plan, made)


def _engine(base: DictConfig) -> tuple[str, ...]:
    """The override that hands on to the jobs, wherever a launcher runs them, which engine this machine decides for."""
    is_open = base.trainer.get("accelerator") == "auto" and base.trainer.get("auto_engine") is None
    if "engine" not in base.decoding or not is_open:
        return ()
    return (f"{automatic.SETTING}={automatic.automatic_engine_here()}",)


def _sweep_folder(base: DictConfig) -> Path | None:
    if "job" in written_sweep_folder(base):
        return None
    try:
        return Path(base.hydra.sweep.dir).absolute()
    except OmegaConfBaseException:
        return None


def _is_made_whole(override: Override, sweeper: DictConfig) -> bool:
    """Whether a search begins by making all values of a dimension: else it draws some."""
    samples_a_grid = str(sweeper.get("sampler", {}).get("_target_")).endswith(".GridSampler")
    return samples_a_grid or bool(getattr(override.value(), "shuffle", False))


def _asked_for(typed: Sequence[Override]) -> list[str]:
    """Overrides for the dimensions that come from ``hparams_search`` or a typed ``hydra.sweeper.params``.

    An experiment brings a grid for sweep.py: they are those of the configuration with one that brings none.
    """
    own = [each for each in typed if each.is_hydra_override() or each.key_or_group == SEARCH_GROUP]
    words = [str(override.input_line) for override in own]
    config = compose("train", overrides=[f"experiment={WITHOUT_A_GRID}", *words], return_hydra_config=True)
    asked: Mapping[str, Any] = config.hydra.sweeper.get("params") or {}
    return [f"{name}={value}" for name, value in asked.items()]


def _check_one_trial(overrides: Sequence[Override]) -> None:
    """Read the settings of a trial. Raises UserError with all that is wrong with them."""
    intervals = {str(each.key_or_group): each for each in overrides if each.is_interval_sweep()}
    trial = [_one_value(each) if each.is_sweep_override() else str(each.input_line) for each in overrides]
    try:
        settings, _ = settings_of(compose("train", overrides=trial))
        _check_objective(settings)
    except SettingsError as error:
        problems = [_with_advice(problem, intervals) for problem in error.problems]
        raise UserError(counted(problems, "a trial of the search")) from error


def _check_objective(settings: "ChainSettings") -> None:
    if settings.objective is None:
        return
    # Imports the libraries of the family, which the trials need too.
    from modelcollapse.chain_session import check_objective
    from modelcollapse.families import family_for
    from modelcollapse.training.trainer import Execution

    check_objective(settings, family_for(settings, Execution(settings.trainer, None)))


def _one_value(override: Override) -> str:
    name = override.get_key_element()
    if not override.is_interval_sweep():
        return f"{name}={next(iter(override.sweep_string_iterator()))}"
    interval = override.value()
    assert isinstance(interval, Interval)
    assert interval.start is not None
    assert interval.end is not None
    value = interval.start + WITHIN * (interval.end - interval.start)
    return f"{name}={round(value) if isinstance(interval.start, int) else value}"


def _with_advice(problem: str, intervals: Mapping[str, Override]) -> str:
    """The problem, and how whole numbers are searched where an interval gave another one."""
    name = problem.partition(":")[0]
    if name not in intervals or "whole number" not in problem:
        return problem
    given = str(intervals[name].input_line).partition("=")[2]
    return f"{problem}; {given} is one of all numbers: type '{name}=int({given})', or range(LOW,HIGH)"


def _put_back(path: Path, content: bytes | None) -> None:
    """Undo what Hydra wrote for a plan: the content that a file had, or None where there was no file."""
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content)


def _best_trial(path: Path) -> str:
    result: Any = OmegaConf.to_container(OmegaConf.load(path))
    if "best_params" not in result:
        return f"{len(result['solutions'])} trials that no other is better than: {path}"
    chosen = " ".join(f"{name}={value}" for name, value in result["best_params"].items())
    return f"best    {chosen}: {result['best_value']:.6g}\nsearch  {path.parent}"
