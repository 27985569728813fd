"""The plan of a grid: what its chains share, what is finished, what is to be computed, and what that will take."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from modelcollapse.chain import Generation, chain_generations, goals
from modelcollapse.config.composing import known_errors
from modelcollapse.console import ancestors_in_order, console, disk_lines, shown_path, time_lines
from modelcollapse.errors import spoken
from modelcollapse.store import Artifact, Store
from modelcollapse.store.estimates import Estimates, Expected
from modelcollapse.sweeps.points import Point


@dataclass(frozen=True)
class ChainPlan:
    """What one chain of a grid takes."""

    point: Point
    generations: Sequence[Generation]
    wanted: Sequence[Artifact]
    """Artifacts that must be there at the end."""
    missing: frozenset[Artifact]
    """Artifacts to compute for it, wherever else they are used."""

    @cached_property
    def ancestry(self) -> Sequence[Artifact]:
        """Everything that the wanted artifacts are, or are made from, parents first."""
        return ancestors_in_order(self.wanted)


class GridPlan:
    """What the chains of a grid take together.

    Args:
        chains: the plans of the chains.
        store: where their artifacts are, or will be.
    """

    def __init__(self, chains: Sequence[ChainPlan], store: Store) -> None:
        self.chains, self.store = chains, store
        self._estimates = Estimates(store)

    @cached_property
    def missing(self) -> Sequence[Artifact]:
        """Artifacts to compute, each once."""
        return list(
            dict.fromkeys(artifact for chain in self.chains for artifact in chain.ancestry if artifact in chain.missing)
        )

    @cached_property
    def users(self) -> dict[Artifact, tuple[int, ...]]:
        """The chains that an artifact is there for, or is to be computed for."""
        users: dict[Artifact, list[int]] = {}
        for chain in self.chains:
            for artifact in chain.ancestry:
                if artifact in chain.missing or self.has(artifact):
                    users.setdefault(artifact, []).append(chain.point.number)
        return {artifact: tuple(numbers) for artifact, numbers in users.items()}

    @cached_property
    def naive_fits(self) -> int:
        """Fits that the chains would take if each computed everything itself."""
        return sum(artifact.work == "fit" for chain in self.chains for artifact in chain.ancestry)

    @cached_property
    def fits(self) -> int:
        """Fits to do."""
        return sum(artifact.work == "fit" for artifact in self.missing)

    @cached_property
    def _there(self) -> dict[Artifact, bool]:
        return {}

    def has(self, artifact: Artifact) -> bool:
        """Whether the artifact is finished; looked up in the store once."""
        if artifact not in self._there:
            self._there[artifact] = self.store.has(artifact)
        return self._there[artifact]

    @cached_property
    def expected(self) -> dict[Artifact, Expected]:
        """Time and size that each missing artifact is expected to take."""
        return {artifact: self._estimates.expected(artifact) for artifact in self.missing}

    def seconds(self, artifacts: Iterable[Artifact]) -> float | None:
        """Time that the missing ones among the artifacts are expected to take; None where none of them has a timing."""
        known = [self.expected[artifact].seconds for artifact in artifacts if artifact in self.expected]
        timed = [seconds for seconds in known if seconds is not None]
        return sum(timed) if timed else None

    @cached_property
    def untimed(self) -> int:
        """Missing artifacts of a kind that the store holds none of."""
        return sum(expected.seconds is None for expected in self.expected.values())

    @cached_property
    def transient(self) -> frozenset[Artifact]:
        """Missing artifacts that ``store.keep=ends`` removes again."""
        wanted = {artifact for chain in self.chains for artifact in chain.wanted}
        declared = {each for chain in self.chains for one in chain.generations for each in one.artifacts.values()}
        return frozenset(artifact for artifact in self.missing if artifact in declared - wanted)

    @cached_property
    def bytes(self) -> int:
        """Disk that the missing artifacts are expected to take in the end, as far as it is known."""
        return sum(self.expected[each].bytes or 0 for each in self.missing if each not in self.transient)


def plans_of(grid: Sequence[Point]) -> list[GridPlan]:
    """The plan of the points; one for each store where they name several. Nothing is computed or written."""
    chains: dict[Path, list[Point]] = {}
    for point in grid:
        chains.setdefault(Path(point.settings.paths.store).expanduser().resolve(), []).append(point)
    plans = []
    for root, points in chains.items():
        store = Store(root)
        plans.append(GridPlan([_chain_plan(point, store) for point in points], store))
    return plans


def _chain_plan(point: Point, store: Store) -> ChainPlan:
    from modelcollapse.families import family_for
    from modelcollapse.training.trainer import Execution

    settings = point.settings
    with known_errors():
        family = family_for(settings, Execution(settings.trainer, None))
        generations = chain_generations(settings, family)
        wanted = dict.fromkeys(goal for generation in generations for goal in goals(generation, settings, family))
    return ChainPlan(point, generations, list(wanted), frozenset(store.missing(wanted)))


SEED = "seed="


def print_plan_tree(plan: GridPlan, jobs: int) -> None:
    """Print the plan; ``jobs`` chains run at once."""
    out = console()
    out.print(plan_tree(plan))
    for total in plan_totals(plan, jobs):
        out.print(total, soft_wrap=True)


def plan_tree(plan: GridPlan) -> Tree:
    """What the chains share, and what each has to compute alone."""
    title = f"plan of {_counted(len(plan.chains), 'chain')}"
    tree = Tree(Text.assemble((title, "bold"), f", store {shown_path(plan.store.root)}"))
    shared = {artifact: users for artifact, users in plan.users.items() if len(users) > 1}
    if shared:
        branch = tree.add("shared")
        for line in _shared_lines(plan, shared):
            branch.add(line)
    for heading, lines in _chain_lines(plan, shared):
        branch = tree.add(heading)
        for line in lines:
            branch.add(line)
    return tree


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _shared_lines(plan: GridPlan, shared: dict[Artifact, tuple[int, ...]]) -> Iterator[Text]:
    """A line for the artifacts of one kind of place that as many chains share, whichever chains these are."""
    places: dict[tuple[str, int], list[Artifact]] = {}
    for artifact, users in shared.items():
        place = artifact.label.partition(" · ")[0]
        places.setdefault((place, len(users)), []).append(artifact)
    for (place, count), artifacts in places.items():
        groups = len({shared[artifact] for artifact in artifacts})
        stages = dict.fromkeys(artifact.label.partition(" · ")[2] for artifact in artifacts)
        names = ", ".join(stage for stage in stages if stage)
        sharers = "all chains" if count == len(plan.chains) else f"{count} chains each"
        times = f"{groups} x " if groups > 1 else ""
        what = f"{times}{place}{f' · {names}' if names else ''}"
        yield Text.assemble(f"{what}: for {sharers}; ", _state(plan, artifacts))


def _state(plan: GridPlan, artifacts: Sequence[Artifact]) -> Text:
    """What is finished and what is to be computed of some artifacts, and how long that takes."""
    absent = [artifact for artifact in artifacts if not plan.has(artifact)]
    if not absent:
        return Text("finished", "green")
    present = f"{len(artifacts) - len(absent)} finished, " if len(absent) < len(artifacts) else ""
    fits = sum(artifact.work == "fit" for artifact in absent)
    fitted = f" ({_counted(fits, 'fit')})" if fits else ""
    to_compute = f"{_counted(len(absent), 'artifact')}{fitted} to compute"
    return Text.assemble(present, (to_compute, "yellow"), f", {_time(plan, absent)}")


def _time(plan: GridPlan, artifacts: Iterable[Artifact]) -> str:
    seconds = plan.seconds(artifacts)
    return "time unknown" if seconds is None else f"about {spoken(seconds)}"


def _chain_lines(plan: GridPlan, shared: dict[Artifact, tuple[int, ...]]) -> Iterator[tuple[str, list[Text]]]:
    """The chains, those that differ by their seed only under one heading, and those in the same state in one line."""
    headed = groupby(
        plan.chains, key=lambda chain: " ".join(varied for varied in chain.point.varied if not varied.startswith(SEED))
    )
    for heading, chains in headed:
        described: dict[str, tuple[Text, list[ChainPlan]]] = {}
        for chain in chains:
            description = _description(plan, chain, shared)
            described.setdefault(description.plain, (description, []))[1].append(chain)
        lines = [Text.assemble(f"{_names(alike)}: ", description) for description, alike in described.values()]
        yield heading or "chains", lines


def _names(chains: Sequence[ChainPlan]) -> str:
    seeds = [str(chain.point.settings.seed) for chain in chains]
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(seeds)}, each"


def _description(plan: GridPlan, chain: ChainPlan, shared: dict[Artifact, tuple[int, ...]]) -> Text:
    """Ranges of generations in the same state, and what the chain alone has to compute."""
    states = [_generation_state(plan, list(generation.artifacts.values()), shared) for generation in chain.generations]
    ranges = []
    first = 0
    for state, run in groupby(states):
        last = first + len(list(run)) - 1
        ranges.append(f"{_range(first, last)} {state}")
        first = last + 1
    own = [artifact for artifact in chain.ancestry if artifact in plan.users and artifact not in shared]
    text = Text(", ".join(ranges))
    return text.append("; ").append(_state(plan, own)) if any(not plan.has(artifact) for artifact in own) else text


def _range(first: int, last: int) -> str:
    return f"generation {first}" if first == last else f"generations {first} to {last}"


def _generation_state(plan: GridPlan, artifacts: Sequence[Artifact], shared: dict[Artifact, tuple[int, ...]]) -> str:
    needed = [artifact for artifact in artifacts if artifact in plan.users]
    if all(plan.has(artifact) for artifact in needed):
        return "finished"
    if all(artifact in shared for artifact in needed):
        return "shared"
    return "in part" if any(plan.has(artifact) or artifact in shared for artifact in needed) else "to compute"


def plan_totals(plan: GridPlan, jobs: int) -> Iterator[str]:
    """Artifacts, fits, time and disk of all chains together, a line each; ``jobs`` chains run at once."""
    finished = sum(plan.has(artifact) for artifact in plan.users)
    yield (
        f"{_counted(len(plan.missing), 'artifact')} to compute, {finished} finished;"
        f" {_counted(plan.fits, 'fit')} to do, {plan.naive_fits} if every chain computed everything itself"
    )
    if plan.missing:
        yield from time_lines(plan.expected, jobs)
        yield from disk_lines(plan.expected, plan.transient, jobs)
    yield "nothing was computed or written"
