"""A family for each lineage of a chain: of one model, or of each member of a population."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelcollapse.families.base import Family
from modelcollapse.families.options import family_options
from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.store import Artifact

if TYPE_CHECKING:
    from modelcollapse.training.trainer import Execution

_OF_GENERATION = "generation "


def members_of(settings: Any, family: Family) -> Sequence[Family]:
    """The families of a chain's lineages: that of the chain, or one for each member of its population."""
    count = settings.population.models if family_options(family.name).populations == "lineages" else 1
    return [family.member(number) for number in range(count)] if count > 1 else [family]


def execution_of(execution: "Execution", population: PopulationSettings, member: int) -> "Execution":
    """The execution of a member's stages, whose epochs are reported as this member's."""
    if not population.is_active:
        return execution

    def on_epoch(generation: int, line: Mapping[str, float]) -> None:
        execution.on_epoch(generation, {"member": member, **line})

    return replace(execution, on_epoch=on_epoch)


def named_after(artifact: Artifact, who: str) -> Artifact:
    """The artifact with a label that says whose it is in its generation; under the same key."""
    place, _, what = artifact.label.partition(" · ")
    if not place.startswith(_OF_GENERATION) or what.startswith(f"{who} · "):
        return artifact
    return replace(artifact, label=f"{place} · {who} · {what}")
