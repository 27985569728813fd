"""Options of the configuration that come from elsewhere than ``conf``: from extensions, scripts and ``--config-dir``.

* A package names its folder of YAML files by an entry point of the group ``modelcollapse.conf``, such as
  ``my_flow.conf``: the folder ``conf`` inside the package ``my_flow``, which is not imported for that.
* A registered member whose settings all have defaults needs no file: it is an option of its group by itself.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore

from modelcollapse.config import hydra_internals
from modelcollapse.config.hydra_internals import ConfigSearchPath, SearchPathPlugin, use_folders_of
from modelcollapse.errors import UserError
from modelcollapse.registry import (
    CONF,
    MEMBER_GROUPS,
    PACKAGE,
    Choice,
    Member,
    broken,
    distribution_of,
    entry_points,
    extensions,
)

GROUPS: Mapping[str, tuple[str, str]] = {
    **{kind: (group, word) for group, (kind, word) in MEMBER_GROUPS.items()},
    "regimes": ("regime", "rule"),
    "rules": ("selection/rule", "name"),
    "scorers": ("selection/scorer", "name"),
    "merges": ("merge", "name"),
    "edits": ("editing", "name"),
}
"""Kind of member -> group of the configuration whose options choose one, and the setting there that names it."""
CONFIG_DIR = ("--config-dir", "-cd")
"""Hydra's flag for a folder of further options, which works for grids here too."""

_FOLDERS: list[Path] = []


def configuration_folder() -> Path:
    """The folder ``conf``: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def prepared_configuration() -> str:
    """The folder ``conf``, with all that comes from elsewhere within reach of Hydra, which is guarded from here on.

    Raises UserError where an extension brings an option that there is already.
    """
    if clashes := list(_clashes(folders_of_packages())):
        raise UserError("\n".join(clashes))
    hydra_internals.install()
    use_folders_of(FurtherFolders)
    for member in extensions():
        _store_option(member)
    return str(configuration_folder())


class FurtherFolders(SearchPathPlugin):
    """Lets Hydra search the folders of extensions and of ``--config-dir``, after ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders."""
        for name, folder in _further_folders():
            search_path.append(provider=name, path=f"file://{folder}")


def use_config_dirs(arguments: Sequence[str]) -> list[str]:
    """The arguments without ``--config-dir``, whose folders are searched from here on.

    Raises UserError for a folder that there is not.
    """
    kept, found = [], []
    given = iter(arguments)
    for argument in given:
        flag, is_one, value = argument.partition("=")
        if flag not in CONFIG_DIR:
            kept.append(argument)
        else:
            found.append(value if is_one else next(given, ""))
    for folder in found:
        if not folder or not Path(folder).is_dir():
            raise UserError(f"{CONFIG_DIR[0]}: {folder or 'a folder'} is not there")
    _FOLDERS[:] = [Path(folder).absolute() for folder in found]
    return kept


def config_dir_arguments() -> list[str]:
    """Arguments with which another process searches the same folders."""
    return [f"{CONFIG_DIR[0]}={folder}" for folder in _FOLDERS]


def options_of(group: str) -> list[str]:
    """The options that a group has, from wherever."""
    folders = (configuration_folder(), *(folder for _, folder in _further_folders()))
    named = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    return sorted(named | {option for of, option in _STORED if of == group})


def groups() -> list[str]:
    """The groups at the top of the configuration, from wherever."""
    folders = (configuration_folder(), *(folder for _, folder in _further_folders()))
    return sorted({path.name for folder in folders for path in folder.iterdir() if path.is_dir()} - {"hydra"})


def _further_folders() -> list[tuple[str, Path]]:
    return [*folders_of_packages(), *(("command-line", folder) for folder in _FOLDERS)]


@cache
def folders_of_packages() -> tuple[tuple[str, Path], ...]:
    """Distribution and folder of every installed extension that brings one."""
    found = []
    for entry_point in entry_points(CONF):
        folder = _folder_of(entry_point.value)
        if folder is None:
            broken(CONF, entry_point, f"there is no folder {entry_point.value}")
        else:
            found.append((distribution_of(entry_point), folder))
    return tuple(found)


def _folder_of(dotted: str) -> Path | None:
    """The folder that a dotted name stands for, found without importing the package that it is in."""
    top, *inner = dotted.split(".")
    try:
        spec = find_spec(top)
    except ValueError:
        return None
    places = [] if spec is None else [Path(place, *inner) for place in spec.submodule_search_locations or ()]
    return next((place for place in places if place.is_dir()), None)


def _clashes(folders: Sequence[tuple[str, Path]]) -> Iterator[str]:
    """Options that two sources define: Hydra would silently take one of them."""
    if not folders:
        return
    owners = dict.fromkeys(_options_in(configuration_folder()), PACKAGE)
    for name, folder in folders:
        for option in _options_in(folder):
            if option in owners:
                yield f"extension {name}: its option {option} is there already, from {owners[option]}; one must go"
            owners.setdefault(option, name)


def _options_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


_STORED: set[tuple[str, str]] = set()


def _store_option(member: Member) -> None:
    """Make an option of a member that no file makes one, where its settings have defaults."""
    if member.kind not in GROUPS:
        return
    group, word = GROUPS[member.kind]
    values = _default_values(member.settings, word)
    if values is None or ((group, member.name) not in _STORED and member.name in options_of(group)):
        return
    ConfigStore.instance().store(
        group=group, name=member.name, node={**values, word: member.name}, provider=member.origin
    )
    _STORED.add((group, member.name))


def _default_values(settings: type | None, word: str) -> dict[str, Any] | None:
    """The settings by default, as plain values; None where one has no default."""
    values = {}
    for field in dataclasses.fields(settings) if settings is not None else ():
        default = (
            field.default_factory()
            if field.default is dataclasses.MISSING and callable(field.default_factory)
            else field.default
        )
        if default is dataclasses.MISSING and field.name != word:
            return None
        values[field.name] = _plain(default)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Choice):
        return {"name": value.name, **(_plain(value.settings) if value.settings is not None else {})}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, Path) else value
