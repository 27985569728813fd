"""What families share whose selections are artifacts of their own: how these are declared."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from modelcollapse.families.stage import Stage
from modelcollapse.regimes import Draw, Source
from modelcollapse.selections.recipes import SYNTHETIC, Candidates, TrainingSet, declare, declare_of_training_set
from modelcollapse.selections.settings import SelectionSettings
from modelcollapse.store import Artifact


class SelectionStages(NamedTuple):
    """The stages of a family's selections."""

    score: Stage
    """Scores what a model wrote."""
    select: Stage
    """Keeps some of it."""
    score_training_set: Stage
    select_training_set: Stage


class SelectingFamily(ABC):
    """A family whose generations are artifacts, of which a selection scores and keeps rows."""

    selection_stages: ClassVar[SelectionStages]
    _selection: SelectionSettings
    _seed: int

    @property
    @abstractmethod
    def _real(self) -> Artifact:
        """The real data."""

    @property
    @abstractmethod
    def _context(self) -> Any:
        """What the stages are given."""

    @abstractmethod
    def _scorer_sources(self, writer: Artifact, reference: Artifact) -> dict[str, Mapping[str, Artifact]]:
        """What a scorer may need, and the artifacts that it is computed from, by role."""

    @property
    @abstractmethod
    def _scoring(self) -> dict[str, Any]:
        """What decides scores beside the scorer and its sources; for recipes."""

    @abstractmethod
    def _set_bytes(self, rows: float) -> int | None:
        """Size on disk of a synthetic set of so many rows, in units of n."""

    def select(
        self, generation: int, synthetic: Artifact, model: Artifact, reference: Artifact, rows: float
    ) -> Mapping[str, Artifact]:
        """The selected set as ``synthetic``, and the scores that it was selected by."""
        if not self._selection.selects_synthetic:
            return {SYNTHETIC: synthetic}
        candidates = Candidates(
            **self._chosen_from(generation, model, reference),
            synthetic=synthetic,
            rows=rows,
            expected_bytes=self._set_bytes(rows),
        )
        stages = self.selection_stages
        return declare(self._selection, candidates, stages.score, stages.select, self._context)

    def select_training_set(
        self,
        generation: int,
        draws: Sequence[Draw],
        sources: Mapping[Source, Artifact],
        writer: Artifact,
        reference: Artifact,
    ) -> Mapping[str, Artifact]:
        """The selected rows of the training set, and the scores that they were selected by."""
        chosen_from = self._chosen_from(generation, writer, reference)
        training_set, stages = TrainingSet(**chosen_from, draws=tuple(draws), sets=sources), self.selection_stages
        scoring, selecting = stages.score_training_set, stages.select_training_set
        return declare_of_training_set(self._selection, training_set, scoring, selecting, self._context)

    def _chosen_from(self, generation: int, writer: Artifact, reference: Artifact) -> dict[str, Any]:
        return {
            "generation": generation,
            "real": self._real,
            "sources": self._scorer_sources(writer, reference),
            "seed": self._seed,
            "scoring": self._scoring,
        }
