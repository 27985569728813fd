"""The contract between the chain and model families."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from modelcollapse.metrics.base import ChosenMetrics, Subject
from modelcollapse.regimes import Draw, Source
from modelcollapse.registry import Choice
from modelcollapse.settings import identity_of
from modelcollapse.store import Artifact
from modelcollapse.training.settings import EpochSettings, TrainerSettings, changes_results

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure


Initial = Literal["pretrained", "generation0", "previous", "fresh"]


@dataclass(frozen=True)
class GenerationResult:
    """The results of one generation, read from its finished artifacts."""

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
    """Tables, documents and figures of a finished chain."""

    tables: "Mapping[str, pd.DataFrame]"
    documents: Mapping[str, str]
    figures: "Mapping[str, Figure]"


@dataclass(frozen=True)
class Span:
    """Consecutive generations that one fit produces and one artifact holds; for networks a single one."""

    first: int
    last: int

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __str__(self) -> str:
        return f"generation {self.first}" if self.first == self.last else f"generations {self.first} to {self.last}"


def spans(generations: int, length: int) -> Iterator[Span]:
    """Generation 0 by itself, since all regimes share it, then spans of equal length; the last may be shorter."""
    yield Span(0, 0)
    for first in range(1, generations + 1, length):
        yield Span(first, min(first + length - 1, generations))


class ChainNeeds(Protocol):
    """The settings of a chain that a family reads."""

    model: Any
    data: Any
    decoding: Any
    regime: Any
    selection: Any
    merge: Any
    editing: Any
    metrics: Any
    callbacks: Any
    trainer: Any
    population: Any
    seed: int
    generations: int


class Family(Protocol):
    """A model family: declares artifacts, and reads the finished ones.

    Keys of declared artifacts follow from the settings alone; nothing is computed until the store builds them.
    Families whose generations are cheap advance many of them in one fit, and need not store a synthetic set that can be
    drawn again from the model: ``synthesise`` then returns the model's own artifact.
    """

    name: str
    """Registered name of the family, such as ``language_model``."""
    title: str
    """The model's name for figures."""
    segment_length: int
    """Generations that one fit makes, after generation 0."""
    initial: Initial
    """Initial weights of generations 1, 2, ..."""
    prompts: Literal["real", "previous"]
    """What synthetic sets are generated from, where a family needs prompts."""
    compared_with: str
    """Option of ``regime`` that a first chain under ``replace`` is best compared with."""

    @property
    def headline(self) -> Sequence[tuple[str, str]]:
        """Metrics shown for every generation: (flat name, column heading)."""
        ...

    @property
    def metrics(self) -> ChosenMetrics:
        """The metrics that the settings ask for."""
        ...

    def subjects(self, generation: int) -> Sequence[Subject]:
        """The subjects that metrics of a generation are computed from."""
        ...

    # ---- populations, of families whose FamilyOptions.populations is ``lineages`` ----

    def member(self, number: int) -> "Family":
        """The family of a member of the population, 0 the first: of the same settings, with the member's seed, and
        where real data are split with its part of them.
        """
        ...

    def union(self, generation: int, sets: Sequence[Artifact]) -> Artifact:
        """Declare a set of as many rows as one of ``sets`` has, drawn from all of them with the member's stream."""
        ...

    # ---- inputs ----

    def inputs(self) -> Mapping[str, Artifact]:
        """Declare the inputs of the chain (data, tokenizer, published weights), role -> artifact.

        The real data as ``real``; nothing where they are drawn from a known distribution as they are wanted.
        """
        ...

    def rows(self, real: Path) -> tuple[int, int | None]:
        """How many rows the finished real data hold to train on, and set aside; None for as many as are wanted."""
        ...

    def input_problems(self, folders: Mapping[str, Path]) -> Iterable[str]:
        """Conflicts between the settings and the finished inputs, given by role; a message a problem."""
        ...

    def fresh(self, generation: int, share: float) -> Artifact | None:
        """Declare real rows for this generation that no earlier one has seen, in units of the real training split.

        None where they are drawn from a known distribution as they are wanted.
        """
        ...

    def pretrained(self) -> Artifact | None:
        """Declare the weights that generation 0 starts from; None for random ones."""
        ...

    # ---- a generation ----

    def fit(
        self,
        span: Span,
        compositions: Mapping[int, Sequence[Draw]],
        sources: Mapping[Source, Artifact],
        initial: Artifact | None,
    ) -> Artifact:
        """Declare the models of a span of generations.

        Args:
            span: the generations.
            compositions: what each of them is trained on.
            sources: the artifacts of the sets that these draw from, those of the span itself left out.
            initial: the model they start from; None for random weights.

        A family whose FamilyOptions.selects_training_sets is given as ``selected`` too the rows of the training set
        that are trained on, where a selection chooses them.
        """
        ...

    # ---- selections of training sets, of families whose FamilyOptions.selects_training_sets ----

    def select_training_set(
        self,
        generation: int,
        draws: Sequence[Draw],
        sources: Mapping[Source, Artifact],
        writer: Artifact,
        reference: Artifact,
    ) -> Mapping[str, Artifact]:
        """Declare what is selected from the rows of a training set, role -> artifact: ``selected_rows``, and scores.

        Args:
            generation: that is trained on it, at least 1.
            draws: what it is composed of.
            sources: the artifacts of the sets that these draw from.
            writer: the model of the generation before.
            reference: generation 0's model.
        """
        ...

    def merge(self, generation: int, fitted: Artifact, reference: Artifact, previous: Artifact) -> Artifact:
        """Declare the model whose weights are merged after its fit; called where settings ask for a merge.

        The fitted one itself where its fit does it. ``reference`` is generation 0's model, ``previous`` the model of
        the generation before.
        """
        ...

    def synthesise(self, generation: int, model: Artifact, prompts: Artifact | None, rows: float) -> Artifact:
        """Declare the synthetic set that ``model`` generates; ``rows`` in units of the real training split."""
        ...

    def edit(self, generation: int, model: Artifact, reference: Artifact, before: Artifact | None) -> Artifact:
        """Declare the edited real data that take the place of a synthetic set; called where settings ask for it.

        ``before`` are those of the generation before, which are edited once more; None for the real data themselves.
        """
        ...

    def select(
        self, generation: int, synthetic: Artifact, model: Artifact, reference: Artifact, rows: float
    ) -> Mapping[str, Artifact]:
        """Declare the artifacts of a selection, role -> artifact: the selected set as ``synthetic``, and the scores.

        ``rows`` are kept, in units of the real training split; ``reference`` is generation 0's model.
        """
        ...

    def measurements(
        self, generation: int, model: Artifact, synthetic: Artifact, reference: Artifact
    ) -> Mapping[str, Artifact]:
        """Declare the measurements of a generation, role -> artifact; ``reference`` is generation 0's model."""
        ...

    # ---- results ----

    def result(self, generation: int, folders: Mapping[str, Path]) -> GenerationResult:
        """Read the results of a generation from its finished artifacts, role -> folder, and compute its metrics."""
        ...

    def load_model(self, generation: int, folders: Mapping[str, Path]) -> Any:
        """The model of a generation to be used in Python, what ``run.model(generation)`` returns.

        ``folders`` are those of the generation's artifacts and of what these were made from, role -> verified folder.
        """
        ...

    def load_synthetic(self, generation: int, folders: Mapping[str, Path]) -> Any:
        """What a generation wrote, to be used in Python: what ``run.synthetic(generation)`` returns."""
        ...

    def reclaimable(self) -> Iterable[str]:
        """Kinds of artifacts that ``store.keep=ends`` removes once nothing in the chain needs them."""
        ...

    def report(self, results: Sequence[tuple[int, GenerationResult]], title: "ChainTitle") -> ChainReport:
        """Tables, documents and figures of a chain."""
        ...


@dataclass(frozen=True)
class ChainTitle:
    """Model, regime and seeds for the titles of figures."""

    model: str
    regime: str
    seeds: str


def training_recipe(training: EpochSettings, generation: int) -> dict[str, Any]:
    """The settings of a fit, epochs resolved.

    Generation 0 trains on exactly the real data, so it is the same fit however an epoch is counted.
    """
    recipe = identity_of(training)
    recipe["epochs"] = training.epochs_of(generation)
    del recipe["generation0_epochs"]
    if generation == 0:
        del recipe["epoch_size"]
    return recipe


def trainer_recipe(trainer: TrainerSettings) -> dict[str, Any]:
    """Lightning's arguments that decide what a generation's fit learns; empty where none does."""
    arguments = identity_of(trainer.fit_arguments)
    return {"trainer": arguments} if arguments else {}


def callbacks_recipe(callbacks: Iterable[Choice]) -> dict[str, Any]:
    """The callbacks that can change the weights, for the recipe of a fit; empty where there are none."""
    recipes = [choice.recipe() for choice in callbacks if changes_results(choice)]
    return {"callbacks": recipes} if recipes else {}
