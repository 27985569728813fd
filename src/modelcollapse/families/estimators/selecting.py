"""Selection inside a segment: what a model writes is scored, and cut to the rows that the regime asks for."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from modelcollapse.families.estimators.estimator import SELECTION_FILE, SegmentStates, State
from modelcollapse.families.estimators.stages import StageContext
from modelcollapse.regimes import Regime, rows_of, synthetic_rows
from modelcollapse.seeding import Stream
from modelcollapse.selections.replicates import KeptReplicates, choose_replicates, score_replicates, summaries
from modelcollapse.selections.settings import SelectionSettings
from modelcollapse.store import BuildContext


class Selected(NamedTuple):
    """The rows that are kept of what a model wrote."""

    rows: torch.Tensor
    """[R, rows, d]."""
    weights: torch.Tensor | None
    """[R, rows] with mean 1; None where the rule weighs nothing."""
    measures: Mapping[str, torch.Tensor]
    """What was kept, and how the scorer did, each [R]."""


class Selector:
    """Selects among the rows of a chain's models; what is selected again has the same bits."""

    def __init__(self, estimator: Any, selection: SelectionSettings, regime: Regime, seed: int, rows: int) -> None:
        """``rows``: real rows of a replicate."""
        self._estimator, self._selection = estimator, selection
        self._regime, self._seed, self._rows = regime, seed, rows

    def select(self, generation: int, states: Mapping[int, State]) -> Selected:
        """What is kept of the set of model ``generation``; ``states`` holds its state, and generation 0's."""
        written = synthetic_rows(self._regime, generation)
        wanted, count = (rows_of(rows, self._rows) for rows in (written, self._selection.candidates(written)))
        stream = Stream(self._seed, generation, "synthesis")
        candidates = self._estimator.draw(states[generation], count, stream)
        if getattr(self._estimator, "sorts_rows", False):
            candidates = _shuffled(candidates, stream.within("order"))
        return self._chosen(generation, candidates, wanted, self._available(generation, candidates, states))

    def _chosen(
        self, generation: int, candidates: torch.Tensor, wanted: int, available: Mapping[str, Callable[[], Any]]
    ) -> Selected:
        """The rows that the rule keeps, by the scores that the scorer gives."""
        selection, scores = self._selection, None
        measures: Mapping[str, torch.Tensor] = {}
        assert selection.rule is not None
        if selection.scorer is not None:
            scores, measures = score_replicates(selection.scorer, candidates, available)
        size, stream = (candidates.shape[0], candidates.shape[1]), Stream(self._seed, generation, "selection.rule")
        kept: KeptReplicates = choose_replicates(selection.rule, size, wanted, scores, stream, selection.shortfall)
        return Selected(kept.of(candidates), kept.weights, {**summaries(kept, size[1], scores), **measures})

    def _available(
        self, generation: int, candidates: torch.Tensor, states: Mapping[int, State]
    ) -> dict[str, Callable[[], Any]]:
        """What a scorer may need, [R, ...] each."""
        estimator = self._estimator
        return {
            "writer_losses": lambda: -estimator.log_likelihood(states[generation], candidates),
            "reference_losses": lambda: -estimator.log_likelihood(states[0], candidates),
            "true_log_likelihood": lambda: estimator.true_log_likelihood(candidates),
            "is_right": lambda: estimator.is_right(candidates),
            "real_rows": lambda: self._real_rows,
            "stream": lambda: Stream(self._seed, generation, "selection.scores"),
        }

    @cached_property
    def _real_rows(self) -> torch.Tensor:
        rows: torch.Tensor = self._estimator.real(self._rows, Stream(self._seed, 0, "real"))
        return rows


def _shuffled(rows: torch.Tensor, stream: Stream) -> torch.Tensor:
    """The rows of each replicate in random order."""
    keys = stream.numpy().random(tuple(rows.shape[:2]))
    order = torch.from_numpy(keys).argsort(dim=1, stable=True)
    return rows.gather(1, order[:, :, None].expand_as(rows))


def measure_selections(stage: StageContext, context: BuildContext) -> None:
    """Select among the sets of a segment's models once more, and write what was kept of each, [T, R] by measure."""
    segment, start = (SegmentStates.read(context.parents[role]) for role in ("model", "start"))
    states = {0: start.state(0)} | {generation: segment.state(generation) for generation in segment.generations}
    found = [stage.selector.select(generation, states).measures for generation in segment.generations]
    save_file({name: torch.stack([each[name] for each in found]) for name in found[0]}, context.folder / SELECTION_FILE)
    context.execution.update(stage.execution.facts(replicates=stage.replicates))
