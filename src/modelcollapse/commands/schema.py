"""``modelcollapse schema FOLDER``: JSON schemas of the configuration files, so that editors complete and check YAML.

A schema a group, and ``chain.json`` for files that set several groups, such as experiments. They are made from the
settings classes and from the registered members, those of installed extensions among them. A file may set any part of
its group: nothing is required, and every value may be ``???`` or a reference, ``${...}``. What is wrong between
settings is for the run itself to report.
"""

import argparse
import dataclasses
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from modelcollapse.command_line import program
from modelcollapse.commands.exit_codes import DONE, reported
from modelcollapse.commands.settings_document import field_meanings
from modelcollapse.config.extensions import GROUPS
from modelcollapse.config.settings import ChainSettings
from modelcollapse.errors import UserError
from modelcollapse.regimes import GeneralSettings, RegimeSettings
from modelcollapse.regimes.rules import RULE, RegimeReader
from modelcollapse.registry import MEMBER_GROUPS, NAME, Member, Registered, registry
from modelcollapse.settings import MISSING, MOST, Allowed, allowed, field_types
from modelcollapse.training.settings import Batches

Schema = dict[str, Any]

CHAIN = "chain"
"""Name of the schema of whole chains."""
COMMENT = "# yaml-language-server: $schema="
"""Comment by which a file names its schema to editors, before a path relative to the file."""
DIALECT = "http://json-schema.org/draft-07/schema#"
DEFAULTS: Schema = {"type": "array", "description": "Other files of the configuration, which this one is built on."}
HYDRA: Schema = {"type": "object", "description": "Hydra's own settings."}
OPEN: Schema = {"anyOf": [{"const": MISSING}, {"type": "string", "pattern": r"\$\{"}]}
"""What every setting may be in a file: a value that must still be given, or a reference to another one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the schemas; returns the exit code."""
    folder: Path = parser().parse_args(arguments).folder
    return reported(lambda: _write(folder))


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog=shlex.join(program()),
        description="Write JSON schemas of the configuration files, with what installed extensions add, for editors.",
    )
    made.add_argument("folder", metavar="FOLDER", type=Path, help="folder that the schemas are written into")
    return made


def _write(folder: Path) -> int:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is no folder")
    for name, schema in schemas().items():
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(schema), encoding="utf-8")
        print(path)
    print(f"An experiment of yours begins with the path from it to its schema: {COMMENT}{folder / CHAIN}.json")
    return DONE


def text(schema: Schema) -> str:
    """A schema as it is written."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def schemas(is_shown: Callable[[Member], bool] = lambda member: True) -> dict[str, Schema]:
    """Group -> schema of its files, and that of whole chains; of members, those that are shown."""
    build = _Builder(is_shown)
    hints, meanings = field_types(ChainSettings), field_meanings(ChainSettings)
    groups = {name: build.group(name, hint) for name, hint in hints.items() if _is_group(name, hint)}
    nested = {group: build.registered(kind, word) for kind, (group, word) in GROUPS.items() if "/" in group}
    # Relative to chain.json, beside which the schemas of the groups are.
    properties = {
        name: {"$ref": f"{name}.json"} if name in groups else build.value(hint, meanings[name])
        for name, hint in hints.items()
    }
    chain = _mapping({**properties, "hydra": HYDRA}, ChainSettings)
    files = {CHAIN: chain, **groups, **nested}
    return {
        name: {"$schema": DIALECT, "definitions": {"open": OPEN}, **_as_file(schema)} for name, schema in files.items()
    }


def _is_group(name: str, hint: Any) -> bool:
    """Whether a field of the chain is a group of settings."""
    kind = allowed(hint).kind
    return name in MEMBER_GROUPS or isinstance(kind, RegimeReader | Registered) or _is_class(kind)


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _as_file(schema: Schema) -> Schema:
    """The schema of a file that holds the settings of a group: it may have a defaults list."""
    if "anyOf" in schema:
        return {"anyOf": [_as_file(each) for each in schema["anyOf"]]}
    return {**schema, "properties": {"defaults": DEFAULTS, **schema["properties"]}}


def _mapping(properties: Schema, cls: type | None) -> Schema:
    """A mapping of these keys and no others, none of which is required."""
    meaning = " ".join((cls.__doc__ or "").split("\n\n")[0].split()) if cls else ""
    return {"type": "object", "description": meaning, "properties": properties, "additionalProperties": False}


class _Builder:
    """Builds schemas from annotations, with the members that are shown."""

    def __init__(self, is_shown: Callable[[Member], bool]) -> None:
        self._is_shown = is_shown

    def group(self, name: str, hint: Any) -> Schema:
        """The settings of a group of the chain."""
        kind = allowed(hint).kind
        if name in MEMBER_GROUPS:
            return self.registered(*MEMBER_GROUPS[name])
        if isinstance(kind, Registered):
            return self.registered(kind.kind, NAME)
        if isinstance(kind, RegimeReader):
            rules = self.registered("regimes", RULE, {NAME: {"type": "string"}})
            return {"anyOf": [*map(self.settings, (RegimeSettings, GeneralSettings)), *rules["anyOf"]]}
        return self.settings(kind)

    def registered(self, kind: str, word: str, more: Schema | None = None) -> Schema:
        """A mapping that names a member of a kind by ``word``, and sets what the member brings."""
        members = [member for member in registry(kind).members() if self._is_shown(member)]
        return {"anyOf": [self._member(member, word, more or {}) for member in members]}

    def settings(self, cls: type | None) -> Schema:
        """The settings of a class; None has none."""
        if cls is None:
            return _mapping({}, None)
        meanings, hints = field_meanings(cls), field_types(cls)
        names = [field.name for field in dataclasses.fields(cls)]
        return _mapping({name: self.value(hints[name], meanings.get(name, "")) for name in names}, cls)

    def value(self, hint: Any, meaning: str) -> Schema:
        """The values of a setting, and what it means."""
        what = allowed(hint)
        null = [{"type": "null"}] if what.optional else []
        described = {"description": meaning} if meaning else {}
        return {**described, "anyOf": [*self._values(what), *null, {"$ref": "#/definitions/open"}]}

    def _values(self, what: Allowed) -> list[Schema]:
        kind = what.kind
        if isinstance(kind, Registered):
            mappings = self.registered(kind.kind, NAME)["anyOf"]
            return [{"enum": [mapping["properties"][NAME]["const"] for mapping in mappings]}, *mappings]
        if _is_class(kind):
            return [self.settings(kind)]
        if kind is tuple:
            item = allowed(what.item)
            # In the place of a list of members a single one may stand.
            single = self._values(item) if isinstance(item.kind, Registered) else []
            return [{"type": "array", "items": self.value(what.item, "")}, *single]
        if kind is Literal:
            return [{"enum": list(what.values)}]
        if kind in (int, float):
            return [{"type": "integer" if kind is int else "number", **_limits(what)}]
        if kind is bool:
            return [{"type": "boolean"}]
        if isinstance(kind, Batches):
            return [{"type": "number", "minimum": 0}]
        # Of what an extension reads by itself nothing is known.
        return [{"type": "string", "minLength": 1, **_characters(what)}] if kind in (str, Path) else [{}]

    def _member(self, member: Member, word: str, more: Schema) -> Schema:
        schema = self.settings(member.settings)
        named = {"const": member.name, "description": f"Chooses the {member.title}."}
        return {**schema, "properties": {**more, **schema["properties"], word: named}}


def _characters(what: Allowed) -> Schema:
    """The limits of a text, by their names in JSON schemas."""
    if what.characters is None:
        return {}
    length = {"maxLength": what.characters.most}
    # What has a meaning between brackets is escaped, and nothing else: editors read the pattern as JavaScript does.
    without = "".join(f"\\{character}" if character in "\\]^-" else character for character in what.characters.without)
    return {**length, "pattern": f"^[^{without}]*$"} if without else length


def _limits(what: Allowed) -> Schema:
    """The limits of a number, by their names in JSON schemas."""
    limits = what.range
    named = {} if limits is None else {"minimum": limits.low, "exclusiveMinimum": limits.above, "maximum": limits.high}
    found = {name: limit for name, limit in named.items() if limit is not None}
    return {"maximum": MOST, **found} if what.kind is int else found
