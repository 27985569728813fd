"""Settings of a population, and what is wrong between them and other settings."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from modelcollapse.settings import Range

Diet = Literal["union", "own", "other", "random"]


@dataclass(frozen=True)
class PopulationSettings:
    """Several models that are trained side by side (Hodel & West, arXiv 2512.15011); one model is no population."""

    models: Annotated[int, Range(low=1, high=64)] = 1
    """Members m of the population. Their initial weights, draws and generated rows are independent."""
    data: Literal["shared", "split"] = "shared"
    """Real rows of the members: all of them for each, or shared out at random without overlap, n / m to each, which is
    then the n of its regime.
    """
    diet: Diet = "union"
    """What S_{t-1} is to a member: `own`, what it wrote; `other`, what the next member wrote, the last one's next being
    the first; `random`, what one of the members wrote, drawn anew for each member and generation; `union`, as many
    rows, drawn without replacement from what all members wrote.
    """

    @property
    def is_active(self) -> bool:
        """Whether there is more than one member."""
        return self.models > 1

    @property
    def canonical(self) -> "PopulationSettings":
        """The same for all settings that mean the same chains: one model is its own diet, and has all data."""
        return self if self.is_active else NO_POPULATION

    @property
    def note(self) -> str:
        """What titles say of it after the regime's name; nothing of one model."""
        return f" ({self.models} members, data {self.data}, diet {self.diet})" if self.is_active else ""

    @property
    def parts(self) -> int:
        """The number of parts that the real rows are shared out in."""
        return self.models if self.data == "split" else 1


NO_POPULATION = PopulationSettings()


def refuse(population: PopulationSettings, model: Any) -> list[str]:
    """The check of a family that has no populations."""
    return population_refusal(population, f"model.family={model.family}, which has no populations")


def population_refusal(population: PopulationSettings, reason: str) -> list[str]:
    """One problem where a population is chosen that is not allowed for a reason."""
    if not population.is_active:
        return []
    return [f"population.models: {population.models} members are not allowed with {reason}; choose population=none"]


def too_many_members(members: int, rows: int) -> str:
    """The problem of more members than rows that they are to share."""
    return (
        f"population.models: {members} members cannot share {rows} rows of the real training split with"
        f" population.data=split; it must be at most {rows}"
    )
