"""The stages of populations: parts of the real data, and samples of what all members wrote."""

from collections.abc import Sequence
from typing import Any

from modelcollapse.families.stage import Stage, stage
from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext

WHOLE = "whole"
"""The role, for a member's part, of all real data."""


@stage("population.part", version=1, work="input")
def part(
    stage: None, context: BuildContext, *, file: str, member: int, population: PopulationSettings, stream: Stream
) -> None:
    """The rows of the real data that a member has for itself."""
    from modelcollapse.populations.rows import write_part

    whole = context.parents[WHOLE]
    write_part(whole, context.folder, file=file, member=member, population=population, stream=stream)


@stage("population.union", version=1, work="synthesis")
def union(stage: None, context: BuildContext, *, file: str, stream: Stream, like: int | None = None) -> None:
    """As many rows as one member writes, ``like`` where they are not alike, drawn from what all of them wrote."""
    from modelcollapse.populations.rows import write_union_sample

    sets = [context.parents[set_role(member)] for member in range(len(context.parents))]
    write_union_sample(sets, context.folder, file=file, stream=stream, like=like)


def set_role(member: int) -> str:
    """The role, for a sample, of what a member wrote."""
    return f"synthetic_of_{member}"


STAGES: Sequence[Stage] = (part, union)
"""All stages of populations; they are no family's own."""


def population_code(population: PopulationSettings) -> dict[str, Any]:
    """Code identity of these stages, for the id of a chain that has them."""
    return {each.name: each.recipe() for each in STAGES} if population.is_active else {}
