"""From overrides to settings: finds, composes and reads the configuration, and explains overrides that are invalid.

Imports nothing heavy: ``--help``, ``--cfg job`` and a typo answer at once.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast

from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from modelcollapse.config import hydra_internals
from modelcollapse.config.extensions import groups, options_of
from modelcollapse.credentials import secret_problems
from modelcollapse.errors import UserError, shortage
from modelcollapse.registry import broken_extensions
from modelcollapse.settings import MISSING, SettingsError, Unresolved, nearest

if TYPE_CHECKING:
    from modelcollapse.config.settings import ChainSettings

HYDRA_VERSION_BASE = "1.3"
LAUNCHERS_ADVICE = "launchers other than basic are installed by: pip install 'modelcollapse[launchers]'"


def settings_of(config: DictConfig) -> "tuple[ChainSettings, dict[str, Any]]":
    """The settings of a chain from its composed configuration, and the configuration as plain values.

    Raises SettingsError with every problem found.
    """
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
    return settings, values


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


def explained(error: HydraException) -> str:
    """Hydra's message, with the nearest valid names."""
    text = str(error).strip()
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None and cause.key is not None:
        return _unknown_setting(cause)
    unknown_group = re.search(r"Could not override '([^']+)'.*No match in the defaults list", text, re.DOTALL)
    if unknown_group:
        known = sorted({*groups(), *_top_level_settings()})
        word = unknown_group.group(1)
        if say := _advice(word):
            return f"{word}: no such setting; {say}"
        return f"{word}: no such setting{nearest(word, known)}; there are: {', '.join(known)}"
    unknown_option = re.search(r"Could not find '([^']+)/([^/']+)'", text)
    if unknown_option:
        return _unknown_option(*unknown_option.groups())
    in_a_list = re.search(r"^Index '.*' \(str\) is not an int \(typed: ([^=]+)", text)
    if in_a_list:
        setting, _, name = in_a_list.group(1).partition(".")
        say = _advice(f"{setting}.{name}") or f"set '{setting}=[{{name: NAME, SETTING: VALUE}}]'"
        return f"{setting}.{name}: no such setting; {setting} is a list; {say}"
    for_a_list = re.match(r"Error merging override (([^=]+)=(\{.*\}))$", text, re.DOTALL)
    if for_a_list:
        override, setting, value = for_a_list.groups()
        return f"{override}: {setting} is a list; set '{setting}=[{value}]'"
    return text


def unresolved(error: OmegaConfBaseException) -> str:
    """What is wrong with a setting of Hydra's that cannot be resolved."""
    first_line = str(error).splitlines()[0]
    return f"{error.full_key}: {first_line}" if error.full_key else first_line


def _advice(setting: str) -> str:
    # Imported where a name is wrong only.
    from modelcollapse.config.other_names import advice

    return advice(setting)


def _unknown_setting(cause: OmegaConfBaseException) -> str:
    setting = str(cause.full_key or cause.key)
    if say := _advice(setting):
        return f"{setting}: no such setting; {say}"
    group = [str(name) for name in cast(DictConfig, cause.parent_node)]
    parent, _, name = setting.rpartition(".")
    if parent and not group:
        return (
            f"{setting}: {parent} is a single value and has no settings; those of a member that it names are given"
            f" beside the name: '{parent}={{name: ..., {name}: ...}}'"
        )
    known = group if parent else [*groups(), *_top_level_settings()]
    return f"{setting}: no such setting{nearest(str(cause.key), known)}; there are: {', '.join(sorted({*known}))}"


def _unknown_option(group: str, word: str) -> str:
    if group == "hydra/launcher":
        known = ["basic", "joblib", "submitit_local", "submitit_slurm"]
        return f"{group}={word}: there is no such launcher{nearest(word, known)}; {LAUNCHERS_ADVICE}"
    known = options_of(group)
    if say := _advice(f"{group}={word}"):
        return f"{group}={word}: there is no such {group}; {say}"
    lacking = "".join(f"; {one.describe()}" for one in broken_extensions())
    return f"{group}={word}: there is no such {group}{nearest(word, known)}; there are: {', '.join(known)}{lacking}"


def _top_level_settings() -> list[str]:
    from modelcollapse.config.settings import ChainSettings

    return [field.name for field in fields(ChainSettings)]
