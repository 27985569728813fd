"""Selection inside a segment: of what a model writes, cut to the rows that the regime asks for, or of training sets."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from modelcollapse.families.estimators.diets import Diets
from modelcollapse.families.estimators.estimator import SELECTION_FILE, SegmentStates, State
from modelcollapse.families.estimators.row_sets import WeighedRows
from modelcollapse.families.estimators.stages import StageContext
from modelcollapse.regimes import Regime, rows_of, synthetic_rows
from modelcollapse.seeding import Stream
from modelcollapse.selections.confusion import confusion, right_by_score
from modelcollapse.selections.replicates import KeptReplicates, choose_replicates, score_replicates, summaries
from modelcollapse.selections.settings import SelectionSettings
from modelcollapse.store import BuildContext


class Selected(NamedTuple):
    """The rows that are kept of a set."""

    rows: WeighedRows
    """[R, places, d]; what the rule weighs them, where it does."""
    measures: Mapping[str, torch.Tensor]
    """What was kept, and how the scorer did, each [R]."""


Available = Mapping[str, Callable[[], Any]]
"""What a scorer may need, [R, ...] each."""


class Selector:
    """Selects among the rows of a chain, of what its models write or of training sets.

    What is selected again has the same bits.
    """

    def __init__(
        self,
        estimator: Any,
        selection: SelectionSettings,
        regime: Regime,
        seed: int,
        rows: int,
        diets: Diets | None = None,
    ) -> None:
        """``rows``: real rows of a replicate; ``diets`` of a population say whose real rows a member has."""
        self._estimator, self._selection = estimator, selection
        self._regime, self._seed, self._rows, self._diets = regime, seed, rows, diets
        self._measures: dict[int, Mapping[str, torch.Tensor]] = {}
        """What was kept of each set that was selected so far."""

    def measures(self, generation: int, states: Mapping[int, State]) -> Mapping[str, torch.Tensor]:
        """What is kept of the set of model ``generation``, in numbers; as :meth:`select`, which a fit has called."""
        if generation not in self._measures:
            self.select(generation, states)
        return self._measures[generation]

    def select(self, generation: int, states: Mapping[int, State]) -> Selected:
        """What is kept of the set of model ``generation``; ``states`` holds its state, and generation 0's."""
        written = synthetic_rows(self._regime, generation)
        wanted, count = (rows_of(rows, self._rows) for rows in (written, self._selection.candidates(written)))
        stream = Stream(self._seed, generation, "synthesis")
        candidates = self._in_random_order(
            WeighedRows(self._estimator.draw(states[generation], count, stream), None), stream
        )
        available = self._available(candidates, states[generation], states[0])
        selected = self._chosen(Stream(self._seed, generation, "selection"), candidates, wanted, available)
        self._measures[generation] = selected.measures
        return selected

    def select_training_set(self, generation: int, training_set: WeighedRows, states: Mapping[int, State]) -> Selected:
        """What is kept of D_t, t = ``generation``, whose rows know whether they are synthetic.

        ``states`` holds those of generations t - 1 and 0. A place weighs what its row did times what the rule says.
        """
        stream = Stream(self._seed, generation, "selection.training_set")
        rows = self._in_random_order(training_set, stream)
        available = {
            **self._available(rows, states[generation - 1], states[0]),
            "is_synthetic": lambda: rows.is_synthetic,
        }
        return self._chosen(stream, rows, rows_of(self._selection.size, rows.rows.shape[1]), available)

    def _in_random_order(self, rows: WeighedRows, stream: Stream) -> WeighedRows:
        """The rows, in an order that says nothing of them: rules keep the first of equal scores."""
        is_sorted = getattr(self._estimator, "sorts_rows", False)
        return rows.at(_random_order(rows, stream.within("order"))) if is_sorted else rows

    def _chosen(self, stream: Stream, candidates: WeighedRows, wanted: int, available: Available) -> Selected:
        """The rows that the rule keeps, by the scores that the scorer gives; ``stream`` is of the selection."""
        selection, scores = self._selection, None
        measures: Mapping[str, torch.Tensor] = {}
        assert selection.rule is not None
        if selection.scorer is not None:
            given = {**available, "stream": lambda: stream.within("scores")}
            scores, measures = score_replicates(selection.scorer, candidates.rows, given)
        size = (candidates.rows.shape[0], candidates.rows.shape[1])
        kept: KeptReplicates = choose_replicates(
            selection.rule, size, wanted, scores, stream.within("rule"), selection.shortfall
        )
        found = {**summaries(kept, size[1], scores), **measures}
        is_right = self._is_right(candidates.rows, scores)
        if is_right is not None:
            found |= confusion(is_right, kept.rows)
        return Selected(candidates.at(kept.rows).times(kept.weights), found)

    def _is_right(self, candidates: torch.Tensor, scores: torch.Tensor | None) -> torch.Tensor | None:
        """Whether each candidate is right, bool [R, candidates], whatever the scorer says; None where nobody knows."""
        if hasattr(self._estimator, "is_right"):
            found: torch.Tensor = self._estimator.is_right(candidates)
            return found
        return right_by_score(self._selection, scores)

    def _available(self, candidates: WeighedRows, writer: State, reference: State) -> Available:
        estimator, rows = self._estimator, candidates.rows
        return {
            "writer_losses": lambda: -estimator.log_likelihood(writer, rows),
            "reference_losses": lambda: -estimator.log_likelihood(reference, rows),
            "true_log_likelihood": lambda: estimator.true_log_likelihood(rows),
            "is_right": lambda: estimator.is_right(rows),
            "real_rows": lambda: self._real_rows,
        }

    @cached_property
    def _real_rows(self) -> torch.Tensor:
        rows: torch.Tensor = self._estimator.real(self._rows, Stream(self._seed, 0, "real"))
        return rows if self._diets is None else self._diets.of_real(rows)


def _random_order(rows: WeighedRows, stream: Stream) -> torch.Tensor:
    """Places [R, rows] of the rows of each replicate, in random order."""
    keys = stream.numpy().random(tuple(rows.rows.shape[:2]))
    return torch.from_numpy(keys).argsort(dim=1, stable=True)


def measure_selections(stage: StageContext, context: BuildContext) -> None:
    """Write what was kept of the sets of a segment's models, [T, R] by measure."""
    segment, start = (SegmentStates.read(context.parents[role]) for role in ("model", "start"))
    states = {0: start.state(0)} | {generation: segment.state(generation) for generation in segment.generations}
    found = [stage.selector.measures(generation, states) for generation in segment.generations]
    save_file({name: torch.stack([each[name] for each in found]) for name in found[0]}, context.folder / SELECTION_FILE)
    context.execution.update(stage.execution.facts(replicates=stage.replicates))
