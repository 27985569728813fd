"""Expands the overrides of a grid into its points, and reads the settings of all points before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from modelcollapse.config import automatic
from modelcollapse.config.composing import HYDRA_VERSION_BASE, settings_of
from modelcollapse.config.explaining import explained
from modelcollapse.config.extensions import prepared_configuration
from modelcollapse.config.hydra_internals import Override, expanded, parsed
from modelcollapse.config.settings import ChainSettings
from modelcollapse.errors import UserError
from modelcollapse.record.claiming import is_named_by_time
from modelcollapse.settings import SettingsError

MOST_NAMED = 3
SEARCH_PATH = "hydra.searchpath"
SEARCH_GROUP = "hparams_search"


@dataclass(frozen=True)
class Point:
    """One chain of a grid."""

    number: int
    overrides: tuple[str, ...]
    """What is typed after ``train.py`` to run this chain alone."""
    varied: tuple[str, ...]
    """Those of the overrides that differ between points."""
    settings: ChainSettings


@dataclass(frozen=True)
class Grid:
    """The points that the overrides of a command line expand to."""

    points: tuple[Point, ...]
    overrides: tuple[str, ...]
    """Words that Hydra expands to these points in this order."""
    hydra_overrides: tuple[str, ...]
    """Words that are meant for Hydra: launcher, folders."""
    hydra: dict[str, Any]
    """Hydra's own configuration as composed, unresolved but for ``sweep_folder``."""
    sweep_folder: str
    """Where the sweep writes."""
    is_named_by_time: bool
    """Whether the name of that folder comes from the time of day."""
    plan: bool
    """Whether only the plan of the grid is printed."""


def read_grid(overrides: Sequence[str]) -> Grid:
    """Expand the overrides as Hydra's basic sweeper does, seeds varying fastest, and read every point's settings.

    Raises UserError with all problems of all points, or where there are too many, HydraException where an override
    common to all is invalid.
    """
    with initialize_config_dir(prepared_configuration(), version_base=HYDRA_VERSION_BASE):
        typed = parsed(overrides)
        _refuse_searches(typed)
        base = _base(typed)
        parameters = base.hydra.sweeper.get("params") or {}
        task = [*parsed([f"{name}={value}" for name, value in parameters.items()]), *typed]
        ordered = _ordered([override for override in task if not override.is_hydra_override()])
        varied = {override.get_key_element() for override in ordered if override.is_sweep_override()}
        places = [str(each.input_line) for each in typed if each.get_key_element() == SEARCH_PATH]
        points = _read_points(expanded(ordered), varied, places)
    engine = _engine(ordered, points)
    return Grid(
        points=tuple(replace(point, overrides=(*point.overrides, *engine)) for point in points),
        overrides=(*(str(override.input_line) for override in ordered), *engine),
        hydra_overrides=tuple(str(override.input_line) for override in typed if override.is_hydra_override()),
        hydra=cast(dict[str, Any], OmegaConf.to_container(base.hydra, resolve=False)),
        sweep_folder=str(base.hydra.sweep.dir),
        is_named_by_time=is_named_by_time(written_sweep_folder(base)),
        plan=base.plan is True,
    )


def _engine(typed: Sequence[Override], points: Sequence[Point]) -> tuple[str, ...]:
    """The override that tells the chains which engine was found; none where it was typed, or follows from them."""
    if any(override.get_key_element() == automatic.SETTING for override in typed):
        return ()
    return automatic.handed_on(point.settings for point in points)


def written_sweep_folder(base: DictConfig) -> str:
    """``hydra.sweep.dir`` of a composed configuration, unresolved."""
    return str(OmegaConf.to_container(base.hydra.sweep, resolve=False)["dir"])  # type: ignore[index, call-overload]


def _refuse_searches(typed: Sequence[Override]) -> None:
    """Raise UserError for what an optimising sweeper needs: it chooses its chains one after another."""
    for override in typed:
        name, _, value = str(override.input_line).partition("=")
        if override.is_interval_sweep():
            raise UserError(
                f"{name}={value}: a grid has no intervals; name its values, {name}=A,B or {name}='range(A,B,STEP)', or"
                f" search them: train.py -m hydra/sweeper=optuna '{name}={value}'"
            )
        if (name == "hydra/sweeper" and value != "basic") or (name == SEARCH_GROUP and value != "null"):
            raise UserError(f"{name}={value}: a grid is run whole; a search is run by: train.py -m {name}={value}")


def _base(typed: Sequence[Override]) -> DictConfig:
    """What all points have in common, with the grid that the experiment brings."""
    common = [str(override.input_line) for override in typed if not override.is_sweep_override()]
    return compose("sweep", overrides=common, return_hydra_config=True)


def _ordered(overrides: Sequence[Override]) -> list[Override]:
    """Each setting once, with its last value; what varies behind the rest, and the seed at the very end.

    The last one varies fastest. Chains of different seeds have nothing but data in common, so that neighbours in a
    parallel launcher do not wait for each other's generation 0.
    """
    latest = {override.get_key_element(): override for override in overrides}
    latest.pop("plan", None)
    return sorted(latest.values(), key=lambda override: (override.is_sweep_override(), override.key_or_group == "seed"))


def _read_points(combinations: Sequence[Sequence[str]], varied: set[str], places: Sequence[str]) -> tuple[Point, ...]:
    """The points, each read; ``places`` say where further options are searched."""
    points, problems = [], []
    for number, combination in enumerate(combinations):
        overrides = [*combination, *places]
        own = tuple(override for override in overrides if override.partition("=")[0] in varied)
        try:
            settings, _ = settings_of(compose("train", overrides=list(overrides)))
            points.append(Point(number, tuple(overrides), own, settings))
        except SettingsError as error:
            problems += [(problem, own) for problem in error.problems]
        except HydraException as error:
            problems.append((explained(error), own))
        except OmegaConfBaseException as error:
            problems.append((str(error).splitlines()[0], own))
    if problems:
        raise InvalidPoints(problems, len(combinations))
    return tuple(points)


class InvalidPoints(UserError):
    """Points of a grid are invalid: each problem once, with the points that have it.

    Args:
        problems: each with the overrides of the point that has it.
        count: points of the grid.
    """

    def __init__(self, problems: Sequence[tuple[str, tuple[str, ...]]], count: int) -> None:
        at_points: dict[str, list[str]] = {}
        for problem, own in problems:
            at_points.setdefault(problem, []).append(" ".join(own))
        self.problems = tuple(
            problem if len(points) == count else f"{problem}\n  at {_named(points)}"
            for problem, points in at_points.items()
        )
        broken = len({own for _, own in problems})
        heading = f"nothing was run: {broken} of the grid's {count} points are invalid"
        super().__init__("\n  ".join([heading, *(problem.replace("\n", "\n  ") for problem in self.problems)]))


def _named(points: Sequence[str]) -> str:
    distinct = [point for point, _ in groupby(points)]
    more = f" and {len(distinct) - MOST_NAMED} more" if len(distinct) > MOST_NAMED else ""
    return "; ".join(distinct[:MOST_NAMED]) + more
