"""Guards against configurations that would execute code, and turns their failures into messages.

Hydra makes objects of whatever its callbacks, its launcher, its sweeper and its logging name by ``_target_``, ``()`` or
``class``, before the job begins; a configuration from elsewhere could name any function. Here they are limited
to Hydra's own and its installed plugins'. The settings of the project itself are never made into objects that way.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra._internal import hydra as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")
"""Where Hydra's launchers and sweepers are."""
PLUGIN_PLACES = ("hydra.launcher._target_", "hydra.sweeper._target_")
LOGGING_PLACES = ("hydra.job_logging.", "hydra.hydra_logging.")
LOGGING_CLASSES = "logging."
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


class GuardedLoader(ConfigLoaderImpl):
    """Hydra's composition of configurations, with what a composed one may not hold refused."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = SharedRepository(config_search_path)

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, *more: Any, **options: Any
    ) -> DictConfig:
        """The composed configuration. Raises HydraException for whatever is wrong with it."""
        try:
            config = super().load_configuration(config_name, overrides, run_mode, *more, **options)
        except HydraException:
            raise
        except Exception as error:
            # Hydra asserts, or raises ValueError and others, for some of what people mistype.
            raise ConfigCompositionException(f"{error} (typed: {' '.join(overrides)})") from error
        if problems := list(foreign_code(OmegaConf.to_container(config, resolve=False))):
            raise ConfigCompositionException("\n".join(problems))
        return config


class SharedRepository(ConfigRepository):
    """Hydra's sources of configurations, whose copies share what is in them.

    Hydra copies them for each group that ``--help`` or a tab completion lists, since ``hydra.searchpath`` may exchange
    the list of sources. A deep copy would hold every structured configuration there is, half a second of ``--help``.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedRepository":
        return copy.copy(self)


def install() -> None:
    """Let Hydra compose with the guard from here on."""
    hydra_main.ConfigLoaderImpl = GuardedLoader  # type: ignore[misc]


def foreign_code(values: Any, path: str = "") -> Iterator[str]:
    """Everything in a composed configuration that would make Hydra call what it should not, a message each."""
    for name, value in _items(values):
        place = f"{path}.{name}" if path else str(name)
        if name == "_target_" and not (place in PLUGIN_PLACES and str(value).startswith(PLUGINS)):
            allowed = f"a class of {' or '.join(PLUGINS)}*" if place in PLUGIN_PLACES else "left out"
            yield f"{place}: {value!r} is not allowed: settings call no code; it must be {allowed}"
        elif place.startswith(LOGGING_PLACES) and _calls_foreign_code(str(name), value):
            yield f"{place}: {value!r} is not allowed: settings call no code; classes must be those of Python's logging"
        else:
            yield from foreign_code(value, place)


def _items(values: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(values, Mapping):
        yield from values.items()
    elif isinstance(values, Sequence) and not isinstance(values, str):
        yield from enumerate(values)


def _calls_foreign_code(name: str, value: Any) -> bool:
    if name == "()" or (name == "class" and not str(value).startswith(LOGGING_CLASSES)):
        return True
    return isinstance(value, str) and "://" in value and value not in STREAMS
