"""Terminal output of a chain: the plan, a line for each generation, the table at the end."""

import logging
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelcollapse.chain import Work, artifacts_of, chain_generations, chain_goals
from modelcollapse.command_line import arguments, program
from modelcollapse.config.settings import ChainSettings
from modelcollapse.errors import spoken
from modelcollapse.families.base import Family
from modelcollapse.families.presentation import Headline, shown_metrics
from modelcollapse.figures.thinning import shown_generations
from modelcollapse.store import Artifact, Store
from modelcollapse.store.collecting import readable_bytes
from modelcollapse.store.estimates import Estimates, Expected

PLAIN_WIDTH = 160
NOTICEABLE_BYTES = 1 << 26
"""Bytes that take so long to read or write that somebody waits."""
MOST_NAMED = 4


def console() -> Console:
    """Standard output; wide enough for a table where it is no terminal.

    Strings are printed as they are: names, paths and overrides of the user may hold ``[...]`` or ``:...:``. What has a
    style is a ``Text``.
    """
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width, soft_wrap=False)


class PrintedMessages(logging.Handler):
    """Prints the package's own messages, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        print(self.format(record), flush=True)


def print_messages() -> None:
    """Print the log messages of the package, such as the address of the run in Weights & Biases."""
    logger = logging.getLogger("modelcollapse")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, PrintedMessages) for handler in logger.handlers):
        logger.addHandler(PrintedMessages())


class Announcements:
    """Standard output for what a store has to say, and for progress bars."""

    def __init__(self) -> None:
        self._console = console()

    @property
    def bars(self) -> Console:
        """Progress bars are drawn on standard output."""
        return self._console

    def announce(self, message: str) -> None:
        """Print one line about the store."""
        print(f"store: {message}", flush=True)


class ChainReporter(Announcements):
    """Prints the progress of one chain, from its header to the suggested next command."""

    def __init__(self, settings: ChainSettings, folder: Path, *, is_command: bool = True) -> None:
        """``is_command``: a next command is suggested; otherwise the chain was run from Python."""
        super().__init__()
        self._settings, self._folder, self._is_command = settings, folder, is_command
        self._family: Family | None = None
        self._shown = shown_generations(settings.generations)
        self._untold: list[Work] = []
        self._made: set[Artifact] = set()

    def progress(self, label: str, done: int, total: int, seconds_left: float) -> None:
        """Nothing beside the bar."""

    def start(self, family: Family, store: Store, wanted: Sequence[Artifact]) -> None:
        """Print what will run, and what is in the store already."""
        self._family = family
        settings = self._settings
        where = f" on {settings.data.name}, regime {settings.regime.name}, seed {settings.seed},"
        generations = f" generations 0 to {settings.generations}"
        self._console.print(Text.assemble((family.title, "bold"), where, generations))
        missing = store.missing(wanted)
        there = [artifact for artifact in wanted if store.has(artifact)]
        if missing:
            self._console.print(
                f"{len(missing)} artifacts to compute, {len(there)} of {len(wanted)} results already in {store.root}"
                f"{_named(there)}"
            )
        else:
            self._console.print(f"nothing to compute: all {len(wanted)} results are in {store.root}")

    def generation(self, work: Work) -> None:
        """Print the headline metrics of a generation; of a long chain for some generations only."""
        self._untold.append(work)
        if work.generation.number not in self._shown:
            return
        shown = [
            f"{heading} {work.result.metrics[name]:.4g}"
            for name, heading in self._headline
            if name in work.result.metrics
        ]
        source = self._source(work)
        self._untold.clear()
        numbers = " · ".join(shown)
        self._console.print(Text.assemble(f"generation {work.generation.number}  {numbers}  ", (source, "dim")))

    @property
    def _headline(self) -> Headline:
        assert self._family is not None
        return shown_metrics(self._family.headline, self._settings.metrics.shown)

    def _source(self, work: Work) -> str:
        """Whether the work not yet reported was computed now; empty for a generation of a segment reported before."""
        computed = [artifact for untold in self._untold for artifact in untold.computed]
        self._made.update(computed)
        if computed:
            return f"computed in {sum(untold.seconds for untold in self._untold):.0f} s"
        return "" if self._made.intersection(work.generation.artifacts.values()) else "from the store"

    def finish(self, works: Sequence[Work], figures: Sequence[Path], store: Store) -> None:
        """Print the table, the paths of the results, and a suggested next command."""
        self._console.print(self._table(works))
        for figure in figures:
            self._console.print(f"figure  {shown_path(figure)}", soft_wrap=True)
        self._console.print(f"record  {shown_path(self._folder)}", soft_wrap=True)
        computed = sum(len(work.computed) for work in works)
        if not computed:
            self._console.print(f"nothing was computed: every artifact was in the store {store.root}")
        if self._is_command:
            self._console.print(f"next    {self._next_command()}", soft_wrap=True)

    def _table(self, works: Sequence[Work]) -> Table:
        assert self._family is not None
        table = Table(title=f"{self._family.title}, regime {self._settings.regime.name}, seed {self._settings.seed}")
        table.add_column("generation", justify="right")
        columns = [(name, heading) for name, heading in self._headline if name in works[0].result.metrics]
        for _, heading in columns:
            table.add_column(heading, justify="right")
        for work in (work for work in works if work.generation.number in self._shown):
            values = [f"{work.result.metrics[name]:.4g}" for name, _ in columns]
            table.add_row(str(work.generation.number), *values)
        return table

    def _next_command(self) -> str:
        """The same chain with some real data kept, or, from there, a second seed."""
        overrides = [each for each in arguments() if not each.startswith("hydra.")]
        if self._settings.regime.name == "replace" and not any(override.startswith("regime") for override in overrides):
            assert self._family is not None
            extra = [f"regime={self._family.compared_with}"]
        else:
            overrides = [override for override in overrides if not override.startswith("seed=")]
            extra = [f"seed={self._settings.seed + 1}"]
        return shlex.join([*program(), *overrides, *extra])


def _named(artifacts: Sequence[Artifact]) -> str:
    """The first few artifacts by name, in brackets."""
    if not artifacts:
        return ""
    names = ", ".join(artifact.label for artifact in artifacts[:MOST_NAMED])
    return f" ({names}{', ...' if len(artifacts) > MOST_NAMED else ''})"


def print_plan(settings: ChainSettings, family: Family, store: Store) -> None:
    """The artifacts of a chain: which are there and from where, which would be computed, and the disk they take."""
    out = console()
    wanted = chain_goals(chain_generations(settings, family), settings, family)
    missing = store.missing(wanted)
    table = Table(title=f"plan: {family.title}, regime {settings.regime.name}, seed {settings.seed}")
    for heading in ("artifact", "key", "state", "size"):
        table.add_column(heading, justify="right" if heading == "size" else "left")
    for artifact in dict.fromkeys([*ancestors_in_order(wanted)]):
        table.add_row(artifact.label, artifact.key[:12], _state(artifact, store, missing), _size(artifact, store))
    out.print(table)
    out.print(f"{len(missing)} artifacts to compute, nothing computed now; store: {store.root}")
    estimates = Estimates(store)
    expected = {artifact: estimates.expected(artifact) for artifact in missing}
    for line in (*time_lines(expected), *disk_lines(expected, set(missing) & _removed_again(settings, family))):
        out.print(line, soft_wrap=True)


def _removed_again(settings: ChainSettings, family: Family) -> set[Artifact]:
    """The artifacts of a chain that ``store.keep=ends`` removes once nothing ahead needs them."""
    generations = chain_generations(settings, family)
    return set(artifacts_of(generations)).difference(chain_goals(generations, settings, family))


PACES = {"50 billion a second (a CPU core)": 5e10, "20 trillion a second (a GPU)": 2e13}
"""Operations in single precision that are reached, about: an idea of the time where nothing like it was made yet."""
SIZES = {"weights": ("model", "base", "pretrained"), "synthetic sets": ("synthetic", "selected")}
"""What the disk is taken by, in words, and the kinds of artifacts; all others are smaller."""


def time_lines(expected: Mapping[Artifact, Expected], jobs: int = 1) -> Iterator[str]:
    """How long missing artifacts are expected to take, ``jobs`` chains at once; operations where no time is known."""
    if not expected:
        return
    known = [each.seconds for each in expected.values() if each.seconds is not None]
    untimed = [artifact for artifact, each in expected.items() if each.seconds is None]
    at_once = f", with {jobs} chains at once about {spoken(sum(known) / jobs)}" if sum(known) and jobs > 1 else ""
    unknown = f"; unknown for {len(untimed)} artifacts, nothing like them was made yet" if untimed else ""
    about = f"about {spoken(sum(known))}{at_once}{unknown}"
    yield f"time: {about if known else 'unknown, nothing like this was made yet'}"
    if operations := sum(artifact.operations or 0 for artifact in untimed):
        paces = [f"{spoken(operations / pace)} at {named}" for named, pace in PACES.items()]
        yield f"operations where no time is known: about {operations:.1e}, which are {', '.join(paces)}"


def disk_lines(expected: Mapping[Artifact, Expected], transient: Collection[Artifact], jobs: int = 1) -> Iterator[str]:
    """The disk that missing artifacts are expected to take: in the end, and on the way; ``transient`` are removed."""
    if not expected:
        return
    sizes = {artifact: each.bytes for artifact, each in expected.items() if each.bytes is not None}
    kept = {artifact: size for artifact, size in sizes.items() if artifact not in transient}
    unknown = [artifact for artifact in expected if artifact not in sizes]
    fits = sum(artifact.work == "fit" for artifact in unknown)
    counted = f"{len(unknown)} artifacts" + (f", {fits} of them fits" if fits else "")
    missing = f"; not known for {counted}" if unknown else ""
    yield (
        f"disk: about {readable_bytes(sum(kept.values()))} more{_parts(kept)}{missing}" if sizes else "disk: not known"
    )
    if passing := [sizes[artifact] for artifact in transient if artifact in sizes]:
        at_once = min(sum(passing), 2 * jobs * max(passing))
        removed = f"store.keep=ends removes {readable_bytes(sum(passing))} of weights again"
        yield f"on the way: {removed}, of which up to {readable_bytes(at_once)} is there at once"
    if progress := max((artifact.progress_bytes or 0 for artifact in expected), default=0):
        yield f"on the way: checkpoints of a fit, up to {readable_bytes(jobs * progress)}, which go with its end"


def _parts(sizes: Mapping[Artifact, int]) -> str:
    """What most of the disk is taken by, in brackets."""
    found = {}
    for what, kinds in SIZES.items():
        if size := sum(size for artifact, size in sizes.items() if artifact.kind in kinds):
            found[what] = readable_bytes(size)
    return f" ({', '.join(f'{size} of {what}' for what, size in found.items())})" if found else ""


def ancestors_in_order(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The artifacts and all that they are made from, parents first, each once."""
    found: dict[Artifact, None] = {}
    stack: list[tuple[Artifact, bool]] = [(artifact, False) for artifact in reversed(artifacts)]
    while stack:
        artifact, expanded = stack.pop()
        if artifact in found:
            continue
        if expanded:
            found[artifact] = None
        else:
            stack.append((artifact, True))
            stack += [(parent, False) for parent in artifact.parents.values() if parent not in found]
    return list(found)


def _state(artifact: Artifact, store: Store, missing: Sequence[Artifact]) -> str:
    if store.has(artifact):
        return f"in {artifact.kind}/{artifact.key}"
    return "to compute" if artifact in missing else "not needed"


def _size(artifact: Artifact, store: Store) -> str:
    if store.has(artifact):
        return readable_bytes(sum(file.bytes for file in store.manifest(artifact).files.values()))
    return "" if artifact.expected_bytes is None else f"about {readable_bytes(artifact.expected_bytes)}"


@contextmanager
def byte_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Takes numbers of bytes that were read or written; draws a bar on a terminal where they are many."""
    if total < NOTICEABLE_BYTES or not sys.stdout.isatty():
        yield lambda count: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count: progress.advance(task, count)


def shown_path(path: Path) -> str:
    """The path as people read it: relative to where they are, if it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
