"""How the artifacts of a family leave the store: what its exporter is given, and which one it is.

An exporter, ``FamilyOptions.exporter``, turns the files of a model or of a synthetic set into what others read. Without
one they are copied as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from modelcollapse.families.options import family_options
from modelcollapse.registry import registry
from modelcollapse.store import Manifest


@dataclass(frozen=True)
class Export:
    """An artifact that is written out of the store."""

    manifest: Manifest
    generation: int | None
    """The generation that was asked for; None where an artifact was named by its key."""
    folder: Path
    """Holds a verified copy of its files, for the exporter to change; it becomes the exported folder."""
    ancestor: Callable[[str], Path | None]
    """Kind -> folder of the verified artifact of that kind that this one is made from; None where it is gone."""

    @property
    def kind(self) -> str:
        """Kind of the artifact, such as ``model`` or ``synthetic``."""
        return self.manifest.kind


Exporter = Callable[[Export], str]
"""Changes the folder; returns how its files are read, as Markdown for its README."""


def exporter_of(manifest: Manifest) -> Exporter:
    """The exporter of the family that an artifact's stage belongs to."""
    family = str(manifest.recipe.get("stage", "")).partition(".")[0]
    place = family_options(family).exporter if family in registry("families") else ""
    if not place:
        return as_it_is
    module, _, name = place.partition(":")
    exporter: Exporter = getattr(import_module(module), name)
    return exporter


def as_it_is(export: Export) -> str:
    """Leave the files as they are."""
    return ""
