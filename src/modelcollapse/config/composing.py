"""From a composed configuration to settings, and errors that a user can fix turned into messages.

Imports nothing heavy: ``--help``, ``--cfg job`` and a typo answer at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from modelcollapse.config import hydra_internals
from modelcollapse.credentials import secret_problems
from modelcollapse.errors import UserError, shortage
from modelcollapse.settings import MISSING, SettingsError, Unresolved

if TYPE_CHECKING:
    from modelcollapse.config.settings import ChainSettings

HYDRA_VERSION_BASE = "1.3"


def settings_of(config: DictConfig) -> "tuple[ChainSettings, dict[str, Any]]":
    """The settings of a chain from its composed configuration, and the configuration as plain values.

    The engine that decodes is decided in both, see :mod:`modelcollapse.config.automatic`.

    Raises SettingsError with every problem found.
    """
    from modelcollapse.config.automatic import with_engine
    from modelcollapse.config.settings import read_chain_settings

    with hydra_internals.sealed():
        values: dict[str, Any] = _plain(config)
    problems = list(secret_problems(values))
    try:
        settings = read_chain_settings(values)
    except SettingsError as error:
        raise SettingsError([*problems, *error.problems]) from error
    if problems:
        raise SettingsError(problems)
    return with_engine(settings, values)


def _plain(node: Any) -> Any:
    """The plain values of a configuration, references resolved; Unresolved where one leads nowhere."""
    if isinstance(node, DictConfig):
        return {str(name): _plain(_item(node, name)) for name in node}
    if isinstance(node, ListConfig):
        return [_plain(_item(node, index)) for index in range(len(node))]
    return node


def _item(node: DictConfig | ListConfig, name: Any) -> Any:
    if OmegaConf.is_missing(node, name):
        return MISSING
    try:
        return node[name]
    except OmegaConfBaseException as error:
        text = OmegaConf.to_container(node, resolve=False)[name]  # type: ignore[index]
        return Unresolved(str(text), str(error).splitlines()[0], isinstance(error, InterpolationToMissingValueError))


def counted(problems: Sequence[str], place: str = "the configuration") -> str:
    """All problems of a place in one message."""
    heading = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{heading} in {place}:\n" + "\n".join(f"  {problem}" for problem in problems)


@contextmanager
def known_errors() -> Iterator[None]:
    """Turn errors that a user can fix into one message."""
    try:
        with python_errors():
            yield
    except SettingsError as error:
        raise UserError(counted(error.problems)) from error


@contextmanager
def python_errors() -> Iterator[None]:
    """Turn errors that a user can fix into a UserError, but for a SettingsError, which has all problems one by one."""
    try:
        yield
    except Exception as error:
        if _is_for_users(error):
            raise UserError(str(error)) from error
        if message := shortage(error):
            raise UserError(message) from error
        if isinstance(error, OSError) and error.filename is not None:
            raise UserError(f"{error.filename}: {error.strerror}") from error
        raise


def _is_for_users(error: Exception) -> bool:
    from modelcollapse.code_digests.snapshot import SourceChanged
    from modelcollapse.regimes import DrawError
    from modelcollapse.store import Damaged

    return isinstance(error, (DrawError, Damaged, SourceChanged))
