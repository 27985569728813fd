"""Settings of a population, and what is wrong between them and other settings."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from modelcollapse.settings import IntroducedAs, Positive, Range

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
    sizes: Annotated[tuple[Positive, ...] | None, IntroducedAs(None)] = None
    """Relative numbers of real rows of the members where data are split, such as [2, 1, 1]; null: all have as many."""

    @property
    def is_active(self) -> bool:
        """Whether there is more than one member."""
        return self.models > 1

    @property
    def canonical(self) -> "PopulationSettings":
        """The same for all settings that mean the same chains: one model is its own diet, and has all data."""
        return replace(self, sizes=self.unequal_sizes) if self.is_active else NO_POPULATION

    @property
    def note(self) -> str:
        """What titles say of it after the regime's name; nothing of one model."""
        if not self.is_active:
            return ""
        sizes = "" if self.sizes is None else f" {':'.join(f'{size:g}' for size in self.sizes)}"
        return f" ({self.models} members, data {self.data}{sizes}, diet {self.diet})"

    @property
    def parts(self) -> int:
        """The number of parts that the real rows are shared out in."""
        return self.models if self.data == "split" else 1

    @property
    def unequal_sizes(self) -> tuple[float, ...] | None:
        """``sizes``, or None where they are all the same."""
        return None if self.sizes is None or len(set(self.sizes)) == 1 else self.sizes

    def problems(self) -> list[str]:
        """What is wrong between these settings, a message a problem."""
        if self.sizes is None:
            return []
        if len(self.sizes) != self.models:
            return [
                f"population.sizes: {len(self.sizes)} numbers for {self.models} members; it must have one for each"
                f" (population.models={len(self.sizes)})"
            ]
        if self.data == "shared":
            return [
                "population.sizes: is of no use with population.data=shared, where each member has all real rows; it"
                " must be null, or choose population.data=split"
            ]
        if self.unequal_sizes and self.diet in ("other", "random"):
            return [
                f"population.sizes: unequal sizes are not allowed with population.diet={self.diet}, which hands on a"
                " set of its writer's size; choose population.diet=union or own"
            ]
        return []


NO_POPULATION = PopulationSettings()


def refuse(population: PopulationSettings, model: Any) -> list[str]:
    """The check of a family that has no populations."""
    return population_refusal(population, f"model.family={model.family}, which has no populations")


def population_refusal(population: PopulationSettings, reason: str) -> list[str]:
    """One problem where a population is chosen that is not allowed for a reason."""
    if not population.is_active:
        return []
    return [f"population.models: {population.models} members are not allowed with {reason}; choose population=none"]


def too_many_members(members: int, rows: int, sizes: tuple[float, ...] | None = None) -> str:
    """The problem of members that have no row of those that they are to share."""
    if sizes is not None:
        return (
            f"population.sizes: {list(sizes)} leave a member no row of {rows} of the real training split; the smallest"
            f" must be at least 1/{rows} of all"
        )
    return (
        f"population.models: {members} members cannot share {rows} rows of the real training split with"
        f" population.data=split; it must be at most {rows}"
    )
