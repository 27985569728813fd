"""Writes the page of all settings from the settings classes: ``python -m modelcollapse.commands.settings_document``.

Types and ranges come from the annotations, meanings from the docstrings under the fields, values from ``conf/``.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from modelcollapse.config.extensions import configuration_folder
from modelcollapse.config.settings import MEMBER_GROUPS, ChainSettings
from modelcollapse.regimes import GeneralSettings, RegimeSettings
from modelcollapse.registry import NAME, Registered, registry
from modelcollapse.settings import allowed, describe, field_types

INTRODUCTION = """# Settings

This page is made from the code: `python -m modelcollapse.commands.settings_document > docs/settings.md`.

A setting is given as `name=value`, an option of a group as `group=option`:

```
python train.py experiment=small_opt model.base.text=novels.txt.gz data.path=wikitext regime=preserve seed=3
```

`python train.py --help` lists the groups and the settings as composed, `--cfg job` prints them, `plan=true` prints what
would be computed. With sweep.py, commas make a [grid](sweeps.md): `python sweep.py seed=0,1,2 regime=replace,preserve`.
`hydra.run.dir=FOLDER` names the run folder. A value that is not allowed is refused before any work starts, with what is
allowed. `null` is typed for none. The values below are those of each option of a group, as composed.

**In an editor**, the files of `conf/` are completed, explained and checked: their first lines name a JSON schema, in
`schemas/`, which the YAML extension of VS Code and other editors with yaml-language-server read. For files of your
own, `modelcollapse schema FOLDER` writes the schemas together with what installed extensions add; an experiment then
begins with `# yaml-language-server: $schema=FOLDER/chain.json`, an option of a group with that of its group.
"""
VALUES_OF_REGIMES = "The values of each regime are in [regimes.md](regimes.md).\n"


class Setting(NamedTuple):
    """One setting as the page shows it."""

    name: str
    allowed: str
    meaning: str


def main() -> None:
    """Print the page."""
    print(page(), end="")


def page() -> str:
    """The whole page, in Markdown."""
    chain = field_types(ChainSettings)
    groups = {*_member_groups(), "regime"}
    single = [name for name, hint in chain.items() if name not in groups and not _is_group(hint)]
    of_the_chain = list(_settings(ChainSettings, "", single))
    sections = [INTRODUCTION, _experiments(), "## The chain\n", _table(of_the_chain, {"": _composed()})]
    for group, cls, word, members in _chosen_groups():
        sections += [f"## `{group}`: {', '.join(members)}\n", _group_table(cls, group, word, members)]
    sections += ["## `regime`\n", VALUES_OF_REGIMES, _table(list(_settings(RegimeSettings, "regime")), {})]
    sections += ["## `regime=general`\n", _general_form()]
    for group, hint in chain.items():
        if _is_group(hint):
            sections += [f"## `{group}`\n", _group_table(allowed(hint).kind, group)]
    return "\n".join(sections)


def _general_form() -> str:
    composed = {"general": _composed("regime=general")}
    return _table(list(_settings(GeneralSettings, "regime")), composed)


def _chosen_groups() -> Iterator[tuple[str, Any, str, list[str]]]:
    """Groups whose settings depend on a name in them: (group, settings class, that setting, names of the class)."""
    for group, (kind, word) in _member_groups().items():
        names: dict[Any, list[str]] = {}
        for member in registry(kind).members():
            if member.is_built_in:
                names.setdefault(member.settings, []).append(member.name)
        yield from ((group, cls, word, members) for cls, members in names.items())


def _member_groups() -> dict[str, tuple[str, str]]:
    """Groups that choose a member: group -> its kind, and the setting that names it."""
    chosen = {group: allowed(hint).kind for group, hint in field_types(ChainSettings).items()}
    chosen = {group: (kind.kind, NAME) for group, kind in chosen.items() if isinstance(kind, Registered)}
    return {**MEMBER_GROUPS, **chosen}


def _experiments() -> str:
    rows = [f"| `{option}` | {_first_comment('experiment', option)} |" for option in _options("experiment")]
    return "\n".join(["## Experiments\n", "| `experiment=` | what it is |", "|---|---|", *rows]) + "\n"


def _first_comment(group: str, option: str) -> str:
    """The comment that opens an option's file, as one line."""
    lines = (configuration_folder() / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith(("# @", "# yaml-language-server:"))]
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(comment)


def _group_table(cls: Any, group: str, word: str | None = None, members: Sequence[str] = ()) -> str:
    """The settings of a class, with their values in every option of the group, or those of some ``members``."""
    columns = {}
    for option in _options(group) or [""]:
        values = _composed(*([f"{group}={option}"] if option else []))
        if word is None or values[group][word] in members:
            columns[option] = values
    lines = [f"- `{group}={option}`: {_first_comment(group, option)}" for option in columns if option]
    table = [] if cls is None else ["", _table(list(_settings(cls, group)), columns)]
    return "\n".join([*lines, *table]).lstrip("\n") + ("\n" if cls is None else "")


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (configuration_folder() / group).glob("*.yaml"))


@cache
def _composed(*overrides: str) -> dict[str, Any]:
    """The configuration as ``train.py`` composes it, interpolations as they are written."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(configuration_folder().resolve()), version_base="1.3"):
        values = OmegaConf.to_container(compose("train", list(overrides)))
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _settings(cls: Any, path: str, names: Sequence[str] | None = None) -> Iterator[Setting]:
    """The settings of a class and of the classes within it, under their full names."""
    meanings = field_meanings(cls)
    hints = field_types(cls)
    for field in dataclasses.fields(cls):
        if names is not None and field.name not in names:
            continue
        name = f"{path}.{field.name}" if path else field.name
        hint = hints[field.name]
        if not _is_group(hint) or allowed(hint).optional:
            yield Setting(name, describe(hint), meanings[field.name])
        if _is_group(hint):
            yield from _settings(allowed(hint).kind, name)


def _is_group(hint: Any) -> bool:
    """Whether an annotation is of a settings class, be it optional."""
    return isinstance(allowed(hint).kind, type) and dataclasses.is_dataclass(allowed(hint).kind)


def field_meanings(cls: Any) -> dict[str, str]:
    """The docstring under each field of a dataclass, as one line; a field without one is absent."""
    classes: list[Any] = [base for base in reversed(cls.__mro__) if dataclasses.is_dataclass(base)]
    meanings = {name: meaning for base in classes for name, meaning in _own_meanings(base)}
    settings = {field.name for field in dataclasses.fields(cls)}
    return {name: meaning for name, meaning in meanings.items() if name in settings}


def _own_meanings(cls: Any) -> Iterator[tuple[str, str]]:
    try:
        source = inspect.getsource(cls)
    except OSError:
        # Of an extension that is installed without its sources, or a class made by a function.
        return
    (tree,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(tree, ast.ClassDef)
    for field, text in pairwise(tree.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            yield field.target.id, " ".join(str(text.value.value).split()).replace("``", "`")


def _table(settings: Sequence[Setting], columns: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a setting, a column of values an option."""
    heading = ["setting", "allowed", *(f"`{option}`" if option else "value" for option in columns), "meaning"]
    rows = [
        [
            f"`{setting.name}`",
            setting.allowed,
            *(_value(values, setting.name) for values in columns.values()),
            setting.meaning,
        ]
        for setting in settings
    ]
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _value(values: Any, name: str) -> str:
    """The value under a dotted name, as it is typed; nothing for a group, or inside a group that is null."""
    for part in name.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return ""
        values = values[part]
    if isinstance(values, Mapping):
        return ""
    literals = {None: "null", True: "true", False: "false"}
    return f"`{literals[values] if values is None or isinstance(values, bool) else values}`"


if __name__ == "__main__":
    main()
