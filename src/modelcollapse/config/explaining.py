"""Messages for errors of Hydra and OmegaConf: what was typed, what is wrong with it, and what to type instead."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import cast

import hydra.conf
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from modelcollapse.config.extensions import groups, options_of
from modelcollapse.config.other_names import advice
from modelcollapse.registry import MEMBER_GROUPS, broken_extensions, registry
from modelcollapse.settings import nearest

PLUGINS: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        "hydra/launcher": (
            ("basic", "joblib", "submitit_local", "submitit_slurm"),
            "launchers other than basic are installed by: pip install 'modelcollapse[launchers]'",
        ),
        "hydra/sweeper": (
            ("basic", "optuna"),
            "the optimising sweeper optuna is installed by: pip install 'modelcollapse[optuna]'",
        ),
        "hydra/sweeper/sampler": (
            ("cmaes", "grid", "motpe", "nsgaii", "random", "tpe"),
            "samplers come with: hydra/sweeper=optuna",
        ),
    }
)
"""Group of Hydra -> options of plugins that work here, and how they are installed."""
KEY = re.compile(r"(?:\+{1,2}|~)?[\w.@/:-]+")
"""What stands before the ``=`` of an override."""


def explained(error: HydraException) -> str:
    """Hydra's message, with the nearest valid names and what to type instead."""
    text = str(error).strip()
    if isinstance(error, OverrideParseException):
        return _unparsed(error)
    cause = error.__cause__
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)) and cause.parent_node is not None and cause.key:
        return _unknown_setting(cause)
    for pattern, message in MESSAGES.items():
        if found := re.search(pattern, text, re.DOTALL):
            return message(found)
    return unresolved(cause) if isinstance(cause, OmegaConfBaseException) and cause.full_key else text


def unresolved(error: OmegaConfBaseException) -> str:
    """What is wrong with the value of a setting of Hydra's, or with a reference in it."""
    first_line = str(error).splitlines()[0]
    return f"{error.full_key}: {first_line}" if error.full_key else first_line


def _unparsed(error: OverrideParseException) -> str:
    """What is wrong with an override that Hydra's grammar does not take."""
    key, equals, value = str(error.override).partition("=")
    if not equals or not KEY.fullmatch(key):
        return f"{error.override!r} is no override; it must be SETTING=VALUE, GROUP=OPTION or a flag"
    if value.startswith(("[", "{")):
        text = "a list [A,B] or a mapping {NAME: VALUE} must be closed, and texts in it quoted where they hold any of"
        return f"{error.override}: {text} =(){{}}[],: or a letter beyond ASCII"
    quoted = "'" + value.strip("'\"").replace("\\", "\\\\").replace("'", "\\'") + "'"
    return (
        f"{error.override}: text with any of =(){{}}[],' or a letter beyond ASCII is quoted, inside of the shell's"
        f' quotes: "{key}={quoted}"'
    )


def _several_values(found: re.Match[str]) -> str:
    override = found["override"]
    key, _, value = override.partition("=")
    if re.search(r"interval\(|glob\(", value):
        return (
            f"{override}: several values are several chains; of an interval an optimising sweeper chooses them:"
            f" train.py -m hydra/sweeper=optuna '{override}'"
        )
    return (
        f"{override}: several values are several chains: train.py -m {override} runs them as Hydra does, sweep.py"
        f" {override} runs them and reports on them; -m is --multirun. A list is {key}=[{value}], and text with a comma"
        f" is quoted, inside of the shell's quotes: \"{key}='{value}'\""
    )


def _unknown_group(found: re.Match[str]) -> str:
    known, word = sorted({*groups(), *_top_level_settings()}), found[1]
    if say := advice(word):
        return f"{word}: no such setting; {say}"
    return f"{word}: no such setting{nearest(word, known)}; there are: {', '.join(known)}"


def _in_a_list(found: re.Match[str]) -> str:
    setting, name = found[2], found[3]
    say = advice(f"{setting}.{name}") or f"set '{setting}=[{{name: NAME, SETTING: VALUE}}]'"
    return f"{setting}.{name}: no such setting; {setting} is a list; {say}"


def _for_a_list(found: re.Match[str]) -> str:
    override, setting, value = found.groups()
    return f"{override}: {setting} is a list; set '{setting}=[{value}]'"


def _no_folder(found: re.Match[str]) -> str:
    return f"hydra.searchpath: {found[1]} is not there"


def _no_option(found: re.Match[str]) -> str:
    return f"{found[1]}: a group is set to one of its options, by name"


def _no_member(found: re.Match[str]) -> str:
    kind, word = MEMBER_GROUPS[found[1]]
    return f"{found[1]}.{word}: None is not allowed; it must be one of {', '.join(registry(kind))}"


def _unknown_option(found: re.Match[str]) -> str:
    group, word = found[1], found[2]
    if say := advice(f"{group}={word}"):
        return f"{group}={word}: there is no such {group}; {say}"
    known, install = PLUGINS.get(group, (options_of(group), ""))
    if group.startswith("hydra/"):
        known = sorted({*known, *_options_of_hydra(group)})
    ends = [install] if install else [one.describe() for one in broken_extensions()]
    listed = f"; there are: {', '.join(known)}"
    return "; ".join([f"{group}={word}: there is no such {group}{nearest(word, known)}{listed}", *ends])


def _options_of_hydra(group: str) -> list[str]:
    """The options of a group of Hydra's own, from its files and from what is installed."""
    files = [path.stem for place in hydra.conf.__path__ for path in (Path(place) / group).glob("*.yaml")]
    try:
        stored = ConfigStore.instance().list(group)
    except OSError:
        stored = []
    return [*files, *(name.removesuffix(".yaml") for name in stored)]


MESSAGES: Mapping[str, Callable[[re.Match[str]], str]] = MappingProxyType(
    {
        r"^Ambiguous value for argument '(?P<override>.*?)'\n": _several_values,
        r"^Sweep parameters '(?P<override>.*)' requires --multirun": _several_values,
        r"Could not override '([^']+)'.*No match in the defaults list": _unknown_group,
        r"Could not find '([^'\n]+)/([^/'\n]+)'": _unknown_option,
        r"^Index '(.*)' \(str\) is not an int \(typed: (?:.* )?(\S+?)\.(\1(?:\.[^=\s]+)?)=": _in_a_list,
        r"^Error merging override ((callbacks|logger)=(\{.*\}))$": _for_a_list,
        r"^provider=hydra\.searchpath.*?path=(.*?) is not available": _no_folder,
        r"^Config group override must be a string or a list.*\(typed: (.*?)(?: hydra\.mode=\w+)?\)": _no_option,
        r"^Error resolving interpolation '\$\{experiment\}_\$\{(regime)\}'": _no_option,
        r"^Error resolving interpolation '\$\{debug\}_\$\{(model|data)\}'": _no_member,
    }
)
"""What Hydra says -> what it means."""


def _unknown_setting(cause: OmegaConfBaseException) -> str:
    setting = str(cause.full_key or cause.key)
    if say := advice(setting):
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


def _top_level_settings() -> list[str]:
    from modelcollapse.config.settings import ChainSettings

    return [field.name for field in fields(ChainSettings)]
