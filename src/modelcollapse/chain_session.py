"""One chain, from its settings to its record, tables and figures; what train.py and modelcollapse.run have in common.

Nothing here prints or ends the process: a :class:`Reporter` shows what happens, and errors are raised.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modelcollapse.config.objective import objective_problems
from modelcollapse.config.settings import ChainSettings, used_members
from modelcollapse.errors import UserError
from modelcollapse.settings import SettingsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from modelcollapse.chain import Work
    from modelcollapse.families.base import ChainTitle, Family, GenerationResult
    from modelcollapse.record import Record, RunState
    from modelcollapse.store import Artifact, Store


class Announcer(Protocol):
    """Shows what a store has to say, and the progress of stages."""

    @property
    def bars(self) -> Console | None:
        """Where progress bars are drawn; None for nowhere."""
        ...

    def announce(self, message: str) -> None:
        """One line about the store, such as that another process is waited for."""


class Reporter(Announcer, Protocol):
    """Shows a chain to people while it runs."""

    def start(self, family: Family, store: Store, wanted: Sequence[Artifact]) -> None:
        """The settings were accepted, and ``wanted`` is what the chain must leave; nothing has been computed yet."""

    def progress(self, label: str, done: int, total: int, seconds_left: float) -> None:
        """A stage has done so many of its steps."""

    def generation(self, work: Work) -> None:
        """A generation is finished and recorded."""

    def finish(self, works: Sequence[Work], figures: Sequence[Path], store: Store) -> None:
        """All generations are finished, tables and figures written."""


@dataclass(frozen=True)
class FinishedChain:
    """A chain that ran to its end."""

    folder: Path
    """The run folder."""
    family: Family
    store: Store
    works: Sequence[Work]
    """One a generation."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the last generation, by their flat names."""
        return self.works[-1].result.metrics


def run_settings(
    settings: ChainSettings,
    values: Mapping[str, Any],
    folder: Path,
    state: RunState,
    reporter: Reporter,
    on_accepted: Callable[[], None] = lambda: None,
) -> FinishedChain:
    """Run the chain that the settings describe, and write its record into ``folder``.

    Args:
        settings: of the chain.
        values: the composed configuration as plain values, for the record.
        folder: the run folder.
        state: of the run, already entered.
        reporter: shows what happens.
        on_accepted: called when all checks are passed, before anything is written or computed.

    Raises:
        SettingsError: the settings do not go with the data.
        UserError: something else that the user can fix.
        Exception: whatever a stage raises.
    """
    before_imports()
    from modelcollapse.chain import (
        artifacts_of,
        chain_artifacts,
        chain_generations,
        chain_goals,
        chain_id,
        run_chain,
    )
    from modelcollapse.code_digests.house import hand_on_sources, snapshot
    from modelcollapse.preflight import refuse_hardware, refuse_to_redo
    from modelcollapse.record import ChainIdentity, Record
    from modelcollapse.record.claiming import overlap_problem, refuse_other_chain
    from modelcollapse.record.views import views
    from modelcollapse.training.trainer import prepare_process

    # Of the files as they are before anything of weight is imported.
    snapshot()
    prepare_process(settings.trainer)
    listeners: list[Callable[..., None]] = []

    def on_progress(label: str, done: int, total: int, seconds_left: float) -> None:
        state.progress(label, done, total, seconds_left)
        reporter.progress(label, done, total, seconds_left)

    family, store = family_and_store(
        settings,
        reporter,
        on_epoch=lambda generation, line: [listener(generation, line) for listener in listeners],
        on_progress=on_progress,
        profiles=folder / "profiles",
    )
    check_objective(settings, family)
    generations = chain_generations(settings, family)
    artifacts = artifacts_of(generations)
    if problem := overlap_problem(folder, "run", store.root, {artifact.kind for artifact in artifacts}):
        raise UserError(problem)
    refuse_other_chain(folder, chain_id(settings))
    refuse_to_redo(
        settings,
        store,
        artifacts,
        lambda: chain_artifacts(settings, family_and_store(settings, reporter)[0]),
    )
    wanted = chain_goals(generations, settings, family)
    refuse_hardware(settings.trainer, store, wanted)
    on_accepted()
    reporter.start(family, store, wanted)
    chain = ChainIdentity(
        id=chain_id(settings),
        experiment=settings.name,
        family=family.name,
        model=family.title,
        regime=settings.regime.name,
        seed=settings.seed,
        tags=settings.tracking.tags,
        extensions=tuple(member.described() for member in used_members(settings) if not member.is_built_in),
    )
    with Record(folder, chain, values, views(settings.tracking, settings.logger)) as record:
        hand_on_sources(folder)
        listeners.append(record.epoch)
        works = []
        state.generation = 0
        for work in run_chain(settings, family, store, record, generations=generations):
            reporter.generation(work)
            works.append(work)
            state.generation = work.generation.number + 1
        state.generation = None
        figures = write_report(record, family, works, settings)
    reporter.finish(works, figures, store)
    return FinishedChain(folder, family, store, works)


def before_imports() -> None:
    """Set what torch reads when it is imported, here and in processes that are started, and let imports be quick."""
    from modelcollapse.surroundings import own_matplotlib
    from modelcollapse.training.processes import seldom_look_for_garbage

    # Lightning imports it too.
    own_matplotlib()
    # Warnings of its C++ code are for programmers.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    seldom_look_for_garbage()


def family_and_store(settings: ChainSettings, reporter: Announcer, **more: Any) -> tuple[Family, Store]:
    """The family and the store of a chain; ``more`` are fields of an Execution."""
    from modelcollapse.families import family_for
    from modelcollapse.store import Store
    from modelcollapse.store.claims import store_problem
    from modelcollapse.training.trainer import Execution

    bars = reporter.bars if settings.trainer.progress else None
    family = family_for(settings, Execution(settings.trainer, bars, **more))
    root = Path(settings.paths.store).expanduser()
    if problem := store_problem(root):
        raise UserError(f"paths.store={problem}")
    return family, Store(root, announce=reporter.announce, on_damage=settings.store.on_damage)


def check_objective(settings: ChainSettings, family: Family) -> None:
    """Raise SettingsError where ``objective`` is no metric of the chain."""
    if problems := objective_problems(settings.objective, family, settings.generations):
        raise SettingsError(problems)


def write_report(record: Record, family: Family, works: Sequence[Work], settings: ChainSettings) -> list[Path]:
    """Write the tables, documents and figures of a chain that has ended; returns the paths of the figures."""
    from modelcollapse.families.base import ChainTitle
    from modelcollapse.families.populations.report import of_first_member, population_figures
    from modelcollapse.figures.style import save
    from modelcollapse.selections.report import CONFUSION_FILE

    regime = f"{settings.regime.name}{settings.population.note}"
    title = ChainTitle(model=family.title, regime=regime, seeds=str(settings.seed))
    results: Sequence[tuple[int, GenerationResult]] = [(work.generation.number, work.result) for work in works]
    if (confusion := _confusion(results, title)) is not None:
        record.document(CONFUSION_FILE, confusion)
    members = [work.members for work in works]
    more: Mapping[str, Figure] = {}
    if len(members[0]) > 1:
        more = population_figures(family, results, members, title)
        results = of_first_member(results, members)
    report = family.report(results, title)
    for name, frame in report.tables.items():
        record.table(name, frame)
    for name, text in report.documents.items():
        record.document(name, text)
    paths = []
    for name, figure in {**report.figures, **more}.items():
        save(figure, record.folder / "figures", name)
        paths.append(record.folder / "figures" / f"{name}.png")
        record.figure(paths[-1])
    return paths


def _confusion(results: Sequence[tuple[int, GenerationResult]], title: ChainTitle) -> str | None:
    """The confusion table of the selection, of the generations that are shown; None where nothing is known."""
    from modelcollapse.figures.thinning import shown_generations
    from modelcollapse.selections.report import confusion_document

    shown = shown_generations(results[-1][0])
    metrics = [(number, result.metrics) for number, result in results if number in shown]
    return confusion_document(metrics, f"{title.model}, regime {title.regime}, seed {title.seeds}")
