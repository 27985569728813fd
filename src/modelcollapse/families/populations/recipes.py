"""The artifacts that only a population has, declared."""

from collections.abc import Sequence
from typing import Any

from modelcollapse.families.populations.stages import WHOLE, part, set_role, union
from modelcollapse.families.stage import Declare
from modelcollapse.populations.members import part_stream, shares_of, union_stream
from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.store import Artifact

DIET = "diet"
"""Kind of the sets that are drawn from what several members wrote, and role of the one that a member is fitted to."""
_DECLARE = Declare(None)


def part_of(real: Artifact, population: PopulationSettings, member: int, seed: int, file: str) -> Artifact:
    """Declare what a member has of the real data: all of them, or where they are split its part.

    Args:
        real: all of them.
        population: its settings.
        member: of the population.
        seed: of the chain.
        file: that the rows are in.
    """
    if population.parts == 1:
        return real
    stream = part_stream(seed)
    recipe: dict[str, Any] = {"stream": stream.recipe(), "member": member, "members": population.models}
    if population.unequal_sizes:
        recipe["sizes"] = list(population.unequal_sizes)
    arguments: dict[str, Any] = {"file": file, "member": member, "population": population, "stream": stream}
    size = None if real.expected_bytes is None else int(real.expected_bytes * shares_of(population)[member])
    return _DECLARE(real.kind, part, recipe, {WHOLE: real}, f"real data · part {member}", size, **arguments)


def whole_of(real: Artifact) -> Artifact:
    """All real data, of which a member's may be a part."""
    return real.parents.get(WHOLE, real)


def union_of(
    sets: Sequence[Artifact], population: PopulationSettings, member: int, seed: int, generation: int, file: str
) -> Artifact:
    """Declare the sample of all members' synthetic sets of a generation that a member draws, whose seed is ``seed``."""
    stream = union_stream(seed, generation)
    parents = {set_role(member): each for member, each in enumerate(sets)}
    like = member if population.unequal_sizes else None
    recipe = {"stream": stream.recipe(), **({} if like is None else {"like": like})}
    label = f"generation {generation} · drawing from all members"
    size = sets[member].expected_bytes
    return _DECLARE(DIET, union, recipe, parents, label, size, file=file, stream=stream, like=like)
