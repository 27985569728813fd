"""What the chain asks of a model family. Nothing here knows a particular family."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from modelcollapse.metrics.base import ChosenMetrics, Subject
from modelcollapse.regimes import Draw, RegimeSettings, Source
from modelcollapse.seeding import Stream
from modelcollapse.settings import identity_of
from modelcollapse.store import Artifact, BuildContext
from modelcollapse.training.processes import give_back_memory, set_imports_aside
from modelcollapse.training.settings import EpochSettings

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure


Initial = Literal["pretrained", "generation0", "previous", "fresh"]


@dataclass(frozen=True)
class GenerationResult:
    """What is known of one generation once its artifacts are finished."""

    metrics: Mapping[str, float]
    """Flat name -> value, without numbers of time."""
    distributions: "Mapping[str, np.ndarray]" = field(default_factory=dict)
    """Flat name -> one value per sequence or sample."""
    samples: Sequence[Mapping[str, Any]] = ()
    """Rows of a table of examples, such as prompt and continuation."""
    epochs: Sequence[Mapping[str, float]] = ()
    """One line an epoch of the fit."""


@dataclass(frozen=True)
class ChainReport:
    """What people look at when a chain has ended."""

    tables: "Mapping[str, pd.DataFrame]"
    documents: Mapping[str, str]
    figures: "Mapping[str, Figure]"


class Presented(Protocol):
    """What every family says of itself, and of a chain's results."""

    name: str
    """Word of the family, such as ``language_model``."""
    title: str
    """The model's name for figures."""

    @property
    def metrics(self) -> ChosenMetrics:
        """The metrics that the settings ask for."""
        ...

    def subjects(self, generation: int) -> Sequence[Subject]:
        """What metrics of a generation are computed of."""
        ...

    def inputs(self) -> Mapping[str, Artifact]:
        """What the chain takes in rather than learns, role -> artifact; the real data as ``real``."""
        ...

    @property
    def headline(self) -> Sequence[tuple[str, str]]:
        """Metrics shown for every generation: (flat name, column heading)."""
        ...

    def result(self, generation: int, folders: Mapping[str, Path]) -> GenerationResult:
        """What the finished artifacts of a generation say, metrics computed of them; ``folders`` names them by role."""
        ...

    def reclaimable(self) -> Iterable[str]:
        """Kinds of artifacts that ``store.keep=ends`` removes once nothing in the chain needs them."""
        ...

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: "ChainTitle") -> ChainReport:
        """Tables, documents and figures of a chain."""
        ...


class Family(Presented, Protocol):
    """A model family whose generations are artifacts of their own: declares artifacts, and reads the finished ones.

    Every method that returns a Artifact returns a promise whose key follows from the settings alone; nothing is
    computed until the store is asked for it.
    """

    initial: Initial
    """Initial weights of generations 1, 2, ..."""
    prompts: Literal["real", "previous"]
    """What synthetic sets are written from, where a family needs prompts."""

    def real(self) -> Artifact:
        """The real data: training, validation and test split."""
        ...

    def rows(self, real: Path) -> tuple[int, int | None]:
        """How many rows the finished real data hold to train on, and set aside; None for as many as are wanted."""
        ...

    def input_problems(self, folders: Mapping[str, Path]) -> Iterable[str]:
        """What of the settings does not go with the finished inputs, by role; a message a problem."""
        ...

    def fresh(self, generation: int, share: float) -> Artifact:
        """Real rows never seen before for this generation, in units of the real training split."""
        ...

    def pretrained(self) -> Artifact | None:
        """The weights that generation 0 starts from, or None for random ones."""
        ...

    def fit(
        self, generation: int, draws: Sequence[Draw], sources: Mapping[Source, Artifact], initial: Artifact | None
    ) -> Artifact:
        """The model trained on the composition ``draws`` of ``sources``, started from ``initial`` or random weights."""
        ...

    def synthesise(self, generation: int, model: Artifact, prompts: Artifact, rows: float) -> Artifact:
        """The synthetic set of ``rows`` times the real size that ``model`` writes."""
        ...

    def select(
        self, generation: int, written: Artifact, model: Artifact, reference: Artifact, rows: float
    ) -> Mapping[str, Artifact]:
        """What takes the place of a written set, as ``synthetic``, and what it was chosen by, role -> artifact.

        ``rows`` are kept, in units of the real training split; ``reference`` is generation 0's model.
        """
        ...

    def measurements(
        self, generation: int, model: Artifact, synthetic: Artifact, reference: Artifact
    ) -> Mapping[str, Artifact]:
        """Everything measured of a generation, role -> artifact; ``reference`` is generation 0's model."""
        ...


@dataclass(frozen=True)
class Segment:
    """Consecutive generations that are one artifact."""

    first: int
    last: int
    artifact: Artifact


@runtime_checkable
class SegmentedFamily(Presented, Protocol):
    """A family so cheap that many generations are advanced in one fit, an epoch each, and stored as one artifact."""

    segment_length: int
    """Generations per artifact."""

    def advance(self, first: int, last: int, regime: RegimeSettings, earlier: Sequence[Segment]) -> Artifact:
        """The generations ``first`` to ``last``, each trained on what the regime composes of those before."""
        ...

    def measures(self, segment: Segment, start: Segment) -> Artifact:
        """What is measured of the generations of a segment; ``start`` is that of generation 0."""
        ...


AnyFamily = Family | SegmentedFamily


@dataclass(frozen=True)
class ChainTitle:
    """What a figure says of the chain it shows."""

    model: str
    regime: str
    seeds: str


def training_recipe(training: EpochSettings, generation: int) -> dict[str, Any]:
    """The settings of a fit, epochs resolved.

    Generation 0 trains on exactly the real data, so it is the same fit however an epoch is counted.
    """
    recipe = identity_of(training)
    recipe["epochs"] = epochs_of(training, generation)
    del recipe["generation0_epochs"]
    if generation == 0:
        del recipe["epoch_size"]
    return recipe


def epochs_of(training: EpochSettings, generation: int) -> int:
    """Epochs that a generation is fitted for."""
    if generation == 0 and training.generation0_epochs is not None:
        return training.generation0_epochs
    return training.epochs


def source_role(source: Source) -> str:
    """Role under which a fit knows a source of its training set."""
    return source.kind if source.generation is None else f"{source.kind}_{source.generation}"


def within(stream: Stream, purpose: str) -> Stream:
    """The stream of one purpose inside a stage."""
    return Stream(stream.seed, stream.generation, f"{stream.stage}.{purpose}")


def stage(module: str, function: str, stage: Any, **arguments: Any) -> Callable[[BuildContext], None]:
    """A stage's function with its stage and arguments; its module is imported when it runs: promises must be cheap."""
    return partial(_run, module, function, stage, arguments)


def _run(module: str, function: str, stage: Any, arguments: Mapping[str, Any], context: BuildContext) -> None:
    getattr(import_module(module), function)(stage, context, **arguments)
    give_back_memory()
    set_imports_aside()
