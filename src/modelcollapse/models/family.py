"""What the chain asks of a model family. Nothing here knows a particular family."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from modelcollapse.regimes import Draw, RegimeSettings, Source
from modelcollapse.store import Piece

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

Initial = Literal["pretrained", "generation0", "previous", "fresh"]


@dataclass(frozen=True)
class GenerationResult:
    """What is known of one generation once its pieces are finished."""

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
    def headline(self) -> Sequence[tuple[str, str]]:
        """Metrics shown for every generation: (flat name, column heading)."""
        ...

    def result(self, generation: int, folders: Mapping[str, Path]) -> GenerationResult:
        """What the finished pieces of a generation say; ``folders`` names them by role."""
        ...

    def reclaimable(self) -> Iterable[str]:
        """Kinds of pieces that ``store.keep=ends`` removes once nothing in the chain needs them."""
        ...

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: "ChainTitle") -> ChainReport:
        """Tables, documents and figures of a chain."""
        ...


class Family(Presented, Protocol):
    """A model family whose generations are pieces of their own: promises of pieces, and what the finished ones say.

    Every method that returns a Piece returns a promise whose key follows from the settings alone; nothing is
    computed until the store is asked for it.
    """

    initial: Initial
    """Initial weights of generations 1, 2, ..."""
    prompts: Literal["real", "previous"]
    """What synthetic sets are written from, where a family needs prompts."""

    def real(self) -> Piece:
        """The real data: training, validation and test split."""
        ...

    def inputs(self) -> Mapping[str, Piece]:
        """What the chain takes in rather than learns, role -> piece; the real data as ``real``."""
        ...

    def rows(self, real: Path) -> tuple[int, int | None]:
        """How many rows the finished real data hold to train on, and set aside; None for as many as are wanted."""
        ...

    def input_problems(self, folders: Mapping[str, Path]) -> Iterable[str]:
        """What of the settings does not go with the finished inputs, by role; a message a problem."""
        ...

    def fresh(self, generation: int, share: float) -> Piece:
        """Real rows never seen before for this generation, in units of the real training split."""
        ...

    def pretrained(self) -> Piece | None:
        """The weights that generation 0 starts from, or None for random ones."""
        ...

    def fit(
        self, generation: int, draws: Sequence[Draw], sources: Mapping[Source, Piece], initial: Piece | None
    ) -> Piece:
        """The model trained on the composition ``draws`` of ``sources``, started from ``initial`` or random weights."""
        ...

    def synthesise(self, generation: int, model: Piece, prompts: Piece, rows: float) -> Piece:
        """The synthetic set of ``rows`` times the real size that ``model`` writes."""
        ...

    def measurements(self, generation: int, model: Piece, synthetic: Piece, reference: Piece) -> Mapping[str, Piece]:
        """Everything measured of a generation, role -> piece; ``reference`` is generation 0's model."""
        ...


@dataclass(frozen=True)
class Segment:
    """Consecutive generations that are one piece."""

    first: int
    last: int
    piece: Piece


@runtime_checkable
class SegmentedFamily(Presented, Protocol):
    """A family so cheap that many generations are advanced in one fit, an epoch each, and stored as one piece."""

    segment_length: int
    """Generations per piece."""

    def advance(self, first: int, last: int, regime: RegimeSettings, earlier: Sequence[Segment]) -> Piece:
        """The generations ``first`` to ``last``, each trained on what the regime composes of those before."""
        ...


AnyFamily = Family | SegmentedFamily


@dataclass(frozen=True)
class ChainTitle:
    """What a figure says of the chain it shows."""

    model: str
    regime: str
    seeds: str
