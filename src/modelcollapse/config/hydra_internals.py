"""All that reaches into the internals of Hydra and OmegaConf, which a new version may move, but for interpolations and
the size of grids.

A test names the versions that this was tried with. The hooks are:

* Hydra's loader is replaced by one that checks what it composed (:class:`GuardedLoader`);
* a run is composed once (:meth:`GuardedLoader._load_configuration_impl`);
* files of the groups ``regime`` and ``trainer`` are completed from an option of ours when they are composed;
* copies of Hydra's sources of configurations share what is in them, and a file is read once a process
  (:class:`SharedRepository`);
* Hydra does not write ``hydra.output_subdir`` before a job begins: the job does, once its settings are accepted;
* which folders Hydra makes for a job is noted before it makes them;
* files whose YAML aliases make too much of little are refused before they are read (:class:`SharedRepository`);
* resolvers that build, decode or read the environment are taken away while we compose (:func:`sealed`), and how much
  references make is bounded (:mod:`modelcollapse.config.interpolations`);
* folders are added to the search path by a plugin that is registered in the running process;
* a grid is expanded by Hydra's basic sweeper.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import hydra.core.utils as hydra_utils
from hydra._internal import hydra as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep as Interval
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException, HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import UnsupportedInterpolationType

from modelcollapse.config.grid_bounds import check_grid, check_nesting
from modelcollapse.config.guard import READ_VARIABLES, RESOLVERS, Refused, foreign_code, unread_variable
from modelcollapse.config.interpolations import ReferenceTooLarge, bounded, file_problem, size_problem
from modelcollapse.credentials import secret_problems
from modelcollapse.settings import MISSING

COMPLETED = {"regime": "replace", "trainer": "default"}
"""Group whose files need only what differs from an option -> the option. Overrides then find every setting there."""
RULE, NAME = "rule", "name"
WHOLE = frozenset({RULE, "alpha", "beta", "gamma"})
"""Settings of regimes that have others than the option: a rule's, and those of the general form, all given."""
HOLDS_FOR = {"hydra-core": ("1.3.8",), "omegaconf": ("2.3.1",)}
"""Distribution -> versions that the hooks were tried with."""
MODE_OF_A_RUN = "hydra.mode=RUN"
"""What Hydra adds to the overrides of a run."""


_SAVE_CONFIG, _SET_CONFIG = hydra_utils._save_config, HydraConfig.set_config
_MADE: list[Path] = []


def install() -> None:
    """Let Hydra compose with the guard, write no ``hydra.output_subdir``, and note which folders it makes."""
    hydra_main.ConfigLoaderImpl = GuardedLoader  # type: ignore[misc]
    _hook_jobs()


def _hook_jobs() -> None:
    hydra_utils._save_config = _save_nothing
    HydraConfig.set_config = _noting_folders  # type: ignore[method-assign]


def made_folders() -> tuple[Path, ...]:
    """The folders that Hydra made for the job that this process began last, the innermost first."""
    return tuple(_MADE)


def missing_folders(folder: Path) -> tuple[Path, ...]:
    """The folder and those above it that are not there, the innermost first."""
    whole = folder.absolute()
    return tuple(each for each in (whole, *whole.parents) if not each.exists())


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, up to one that holds something or is no longer there."""
    for folder in folders:
        if not folder.is_dir() or any(folder.iterdir()):
            break
        folder.rmdir()


def _noting_folders(self: HydraConfig, cfg: DictConfig) -> None:
    """In the place of Hydra's function that is called before the folder of a job is made."""
    _SET_CONFIG(self, cfg)
    if not OmegaConf.is_missing(cfg.hydra.runtime, "output_dir"):
        _MADE[:] = missing_folders(Path(cfg.hydra.runtime.output_dir))


@contextmanager
def apart() -> Iterator[None]:
    """Within the block Hydra is this package's alone; what the process had initialized it for is put back.

    Outside of it the process composes and runs its own configurations as without this package.
    """
    hydra, version = GlobalHydra.instance(), VersionBase.instance()
    initialized, base = hydra.hydra, version.version_base
    hydra.clear()
    install()
    try:
        yield
    finally:
        hydra_main.ConfigLoaderImpl = ConfigLoaderImpl  # type: ignore[misc]
        hydra_utils._save_config = _SAVE_CONFIG
        HydraConfig.set_config = _SET_CONFIG  # type: ignore[method-assign]
        hydra.hydra = initialized
        GlobalHydra.set_instance(hydra)
        version.version_base = base


def _save_nothing(cfg: DictConfig, filename: str, output_dir: Path) -> None:
    """In the place of Hydra's function that writes a configuration before the job has read it."""


class GuardedLoader(ConfigLoaderImpl):
    """Hydra's composition of configurations, with what a composed one may not hold refused."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = SharedRepository(config_search_path)
        self._asked: tuple[str | None, list[str], DictConfig] | None = None

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        config = super()._compose_config_from_defaults_list(defaults, repo)
        for group, option in COMPLETED.items():
            if isinstance(own := config.get(group), DictConfig):
                _complete(own, repo.load_config(f"{group}/{option}"))
        return config

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, *more: Any, **options: Any
    ) -> DictConfig:
        """The composed configuration. Raises HydraException for whatever is wrong with it."""
        # A process of a launcher begins here.
        _hook_jobs()
        check_nesting(overrides)
        with sealed():
            try:
                with _missing_folders_raise():
                    config = super().load_configuration(config_name, overrides, run_mode, *more, **options)
            except HydraException:
                raise
            except RecursionError as error:
                typed = " ".join(overrides)
                raise ConfigCompositionException(f"settings are nested too deeply (typed: {typed})") from error
            except Exception as error:
                # Hydra asserts, or raises ValueError and others, for some of what people mistype.
                raise ConfigCompositionException(f"{error} (typed: {' '.join(overrides)})") from error
            if problems := _problems(config, run_mode):
                raise ConfigCompositionException("\n".join(problems))
        return config

    def _load_configuration_impl(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose, once for a run: Hydra composes to ask for ``hydra.mode``, and again with the answer added."""
        asked, self._asked, is_question = self._asked, None, not validate_sweep_overrides
        if asked is not None and asked[:2] == (config_name, overrides[:-1]) and overrides[-1] == MODE_OF_A_RUN:
            config = asked[2]
            self.validate_sweep_overrides_legal(parsed(overrides), run_mode, from_shell)
            config.hydra.mode = RunMode.RUN
            config.hydra.overrides.hydra.append(MODE_OF_A_RUN)
            return config
        config = super()._load_configuration_impl(config_name, overrides, run_mode, from_shell, not is_question)
        # What is missing in a defaults list is left out of the answer, and is an error of the run.
        if is_question and MISSING not in config.hydra.runtime.choices.values():
            self._asked = (config_name, list(overrides), config)
        return config


@contextmanager
def _missing_folders_raise() -> Iterator[None]:
    """Within the block, a folder of ``hydra.searchpath`` that is not there raises; Hydra warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r"provider=hydra\.searchpath")
        yield


def _complete(own: DictConfig, default: ConfigResult | None) -> None:
    """Add the settings of the default option that a group lacks but for its name; none to regimes of others."""
    if default is None or not WHOLE.isdisjoint(own):
        return
    for name, value in cast(DictConfig, default.config).items():
        if name != NAME and name not in own:
            own[name] = value


class SharedRepository(ConfigRepository):
    """Hydra's sources of configurations, whose copies share what is in them.

    Hydra copies them for each group that ``--help`` or a tab completion lists, since ``hydra.searchpath`` may exchange
    the list of sources. A deep copy would hold every structured configuration there is, half a second of ``--help``.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedRepository":
        return copy.copy(self)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """What is in a file of settings. Raises ConfigCompositionException where its aliases make too much of it."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        # Hydra imports its own plugins twice: the class of a source is not the one that can be imported.
        if source is None or source.scheme() != "file":
            return cast(ConfigResult | None, super().load_config(config_path))
        path = Path(source.path) / source._normalize_file_name(config_path)
        return self._read_once(path, source.provider, config_path)

    def _read_once(self, path: Path, provider: str, config_path: str) -> ConfigResult | None:
        """A copy of what is in a file, which is read once in a process as long as its size and time stay."""
        status = path.stat()
        version = (str(path), status.st_ino, status.st_mtime_ns, status.st_size, provider, config_path)
        if version not in _READ:
            if problem := file_problem(path):
                raise ConfigCompositionException(f"{path}: {problem}")
            _READ[version] = super().load_config(config_path)
        return copy.deepcopy(_READ[version])


_READ: dict[tuple[str | int, ...], ConfigResult | None] = {}


def _problems(config: DictConfig, run_mode: RunMode) -> list[str]:
    """What the configuration may not hold, as it is written and as it resolves."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    typed = [override.key_or_group for override in parsed(plain["hydra"]["overrides"]["hydra"])]
    if problems := list(foreign_code(plain, typed=typed)):
        return problems
    values = resolved(config)
    if isinstance(values["hydra"], Refused):
        return [f"hydra: {values['hydra'].reason}"]
    if problems := list(foreign_code({**values, "hydra": _without_logging(values["hydra"])}, typed=typed)):
        return problems
    # The settings of a job are checked when it reads them, with all else; a sweep writes them down before that.
    is_sweep = run_mode is RunMode.MULTIRUN
    own = values if is_sweep else {"hydra": values["hydra"]}
    problems = list(secret_problems({**own, "hydra": _without_echoes(own["hydra"])}))
    return problems or (list(secret_problems(_typed_values(plain))) if is_sweep else [])


def _typed_values(plain: dict[str, Any]) -> dict[str, str]:
    """What was typed for each setting, also where it is a value of a grid or was typed once more."""
    overrides = plain["hydra"]["overrides"]
    values: dict[str, str] = {}
    for each in parsed([*overrides["hydra"], *overrides["task"]]):
        values[each.key_or_group] = values.get(each.key_or_group, "") + f"{each.value()}\n{each.input_line}\n"
    return values


def _without_logging(values: dict[str, Any]) -> dict[str, Any]:
    """Hydra's settings without those of logging, where references are limited as they are written."""
    return {name: value for name, value in values.items() if not name.endswith("_logging")}


def _without_echoes(values: dict[str, Any]) -> dict[str, Any]:
    """Hydra's settings without what repeats the overrides, whose values stand in their own places."""
    return {**values, "overrides": None, "job": {**values["job"], "override_dirname": None}}


def resolved(node: DictConfig | ListConfig) -> Any:
    """The plain values of a configuration, references resolved; one that cannot be resolved yet stays as written.

    A reference to a whole group gives that group as it is written: what it refers to is resolved in its own place. A
    group that would be too large, or without end, with all references in it followed is :class:`Refused`.
    """
    inner: dict[int, list[int]] = {}
    values = _resolved(node, inner)
    if isinstance(node, DictConfig):
        for name in node:
            if (group := id(node._get_node(name))) in inner and (problem := size_problem(inner, group)):
                values[str(name)] = Refused(problem)
    return values


def _resolved(node: DictConfig | ListConfig, inner: dict[int, list[int]]) -> Any:
    """The values of a group; notes in ``inner`` what :func:`size_problem` asks for."""
    names = list(node) if isinstance(node, DictConfig) else range(len(node))
    inner[id(node)] = []
    values = {str(name): _resolved_item(node, name, inner) for name in names}
    return values if isinstance(node, DictConfig) else list(values.values())


def _resolved_item(node: DictConfig | ListConfig, name: Any, inner: dict[int, list[int]]) -> Any:
    written = OmegaConf.is_interpolation(node, name)
    try:
        value = node[name]
    except (UnsupportedInterpolationType, ReferenceTooLarge) as error:
        return Refused(str(error).partition("\n")[0])
    except Exception:
        # Whatever a resolver raises; Hydra's own wait for the job.
        value = OmegaConf.to_container(node, resolve=False)[name]  # type: ignore[index]
    is_group = isinstance(value, (DictConfig, ListConfig))
    inner[id(node)].append(id(value) if is_group else 0)
    if not is_group:
        return value
    return OmegaConf.to_container(value, resolve=False) if written else _resolved(value, inner)


@contextmanager
def sealed() -> Iterator[None]:
    """Within the block there are only Hydra's resolvers, and ``oc.env`` of :data:`READ_VARIABLES`.

    Whatever else was registered, by OmegaConf, a plugin or a notebook, is there again afterwards.
    """
    resolvers = BaseContainer._resolvers
    others = {name: resolvers[name] for name in resolvers if name not in RESOLVERS}
    for name in others:
        del resolvers[name]
    if read_environment := others.get("oc.env"):
        resolvers["oc.env"] = _limited(read_environment)
    try:
        with bounded():
            yield
    finally:
        resolvers.update(others)


def _limited(read_environment: Any) -> Any:
    def read(config: Any, parent: Any, node: Any, arguments: tuple[Any, ...], texts: tuple[str, ...]) -> Any:
        if not arguments or arguments[0] not in READ_VARIABLES:
            raise ValueError(unread_variable(str(arguments[0]) if arguments else ""))
        return read_environment(config, parent, node, arguments, texts)

    return read


def use_folders_of(plugin: type[SearchPathPlugin]) -> None:
    """Let a plugin of ours add to Hydra's search path."""
    Plugins.instance().register(plugin)


def parsed(overrides: Sequence[str]) -> list[Override]:
    """The overrides, parsed. Raises HydraException for one that Hydra's grammar does not know."""
    check_nesting(overrides)
    hydra = GlobalHydra.instance()
    # With it, glob(...) finds the options of a group.
    loader = hydra.config_loader() if hydra.is_initialized() else None
    return OverridesParser.create(loader).parse_overrides(list(overrides))


def expanded(overrides: Sequence[Override]) -> list[list[str]]:
    """Every combination of the overrides, as Hydra's basic sweeper runs them.

    Raises UserError where there are none, or too many to be made.
    """
    check_grid(overrides)
    (points,) = BasicSweeper.split_arguments(list(overrides), None)
    return points


__all__ = [
    "HOLDS_FOR",
    "ConfigSearchPath",
    "GuardedLoader",
    "Interval",
    "Override",
    "SearchPathPlugin",
    "apart",
    "expanded",
    "install",
    "made_folders",
    "missing_folders",
    "parsed",
    "remove_empty",
    "resolved",
    "sealed",
    "use_folders_of",
]
