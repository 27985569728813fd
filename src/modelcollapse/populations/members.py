"""The members of a population: their seeds, their names, and whose rows each of them is trained on."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

from modelcollapse.populations.settings import PopulationSettings
from modelcollapse.regimes.shares import exact
from modelcollapse.seeding import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROLE_PREFIX, UNION = "member_", "union"

V = TypeVar("V")


def member_seed(seed: int, member: int) -> int:
    """The seed of a member: the first has the chain's own, the others 63 bits that follow from it.

    So the first member's streams are those of the chain without a population, and another member's are those of the
    chain with its seed.
    """
    return Stream(seed, 0, "population.member", index=member).torch_seed() if member else seed


def shares_of(population: PopulationSettings) -> tuple[Fraction, ...]:
    """The share of the real rows that each member has."""
    if population.parts == 1:
        return (Fraction(1),) * population.models
    sizes = [exact(size) for size in population.sizes or (1.0,) * population.models]
    return tuple(size / sum(sizes) for size in sizes)


def part_stream(seed: int) -> Stream:
    """What the real rows are shuffled with, once for a chain, before they are shared out among its members."""
    return Stream(seed, 0, "population.part")


def union_stream(seed: int, generation: int) -> Stream:
    """What a member, given by its seed, draws with from all that was written in a generation."""
    return Stream(seed, generation, "population.union")


def writer(population: PopulationSettings, member: int, seed: int, generation: int) -> int:
    """The member whose synthetic set of a generation a member is trained on; not for the diet `union`.

    Args:
        population: its settings.
        member: that is trained.
        seed: of that member, see :func:`member_seed`.
        generation: that wrote.
    """
    if population.diet == "other":
        return (member + 1) % population.models
    if population.diet == "random":
        return int(_random_writers(seed, generation).bit_generator.random_raw()) % population.models
    return member


def writers(population: PopulationSettings, replicates: int, seed: int, generation: int) -> "NDArray[np.int64]":
    """As :func:`writer`, of all members in independent replicates of one chain, [m, replicates]."""
    import numpy as np

    members = np.repeat(np.arange(population.models)[:, None], replicates, axis=1)
    if population.diet == "other":
        return (members + 1) % population.models
    if population.diet == "random":
        drawn = _random_writers(seed, generation).bit_generator.random_raw(members.size)
        return (drawn % population.models).astype(np.int64).reshape(members.shape)
    return members


def _random_writers(seed: int, generation: int) -> "np.random.Generator":
    return Stream(seed, generation, "population.random").numpy()


def member_name(member: int, name: str) -> str:
    """The name of a member's metric in the record: `member_0/test/perplexity`."""
    return f"{ROLE_PREFIX}{member}/{name}"


def member_role(member: int, role: str) -> str:
    """The role of a member's artifact among those of a generation; the first member's are those of any chain."""
    return member_name(member, role) if member else role


def union_name(name: str) -> str:
    """The name of a metric, or the role of an artifact, of all members' rows together: `union/synthetic/distinct_2`."""
    return f"{UNION}/{name}"


def of_member(named: Mapping[str, V], member: int) -> dict[str, V]:
    """The entries, by role, of a generation's artifacts that are a member's, under its own roles."""
    if member == 0:
        return {
            role: value for role, value in named.items() if not role.startswith(ROLE_PREFIX) and not _is_joint(role)
        }
    prefix = member_role(member, "")
    return {role.removeprefix(prefix): value for role, value in named.items() if role.startswith(prefix)}


def members_in(roles: Iterable[str]) -> int:
    """The number of members whose artifacts have these roles."""
    return 1 + len({role.partition("/")[0] for role in roles if role.startswith(ROLE_PREFIX)})


def of_union(named: Mapping[str, V]) -> dict[str, V]:
    """The entries, by role, of what all members wrote together, under the roles that a single set has."""
    own = {role.removeprefix(union_name("")): value for role, value in named.items() if role.startswith(union_name(""))}
    return {**own, "synthetic": named[UNION]} if UNION in named else own


def _is_joint(role: str) -> bool:
    return role == UNION or role.startswith(union_name(""))


def mean_metrics(members: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric over the members that have it."""
    values: dict[str, list[float]] = {}
    for metrics in members:
        for name, value in metrics.items():
            values.setdefault(name, []).append(float(value))
    return {name: sum(each) / len(each) for name, each in values.items()}
