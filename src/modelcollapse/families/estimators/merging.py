"""Merges of fitted parameters, generation after generation inside a segment."""

from collections.abc import Mapping
from typing import cast

from modelcollapse.families.estimators.estimator import Estimator, MergeableEstimator, State
from modelcollapse.merges.applying import merged
from modelcollapse.merges.recipes import Merging
from modelcollapse.merges.settings import PREVIOUS, REFERENCE, STREAM, is_merged
from modelcollapse.registry import Choice


def merged_state(
    merge: Choice, estimator: Estimator, seed: int, generation: int, fitted: State, states: Mapping[int, State]
) -> State:
    """The state of a generation, each [R, ...]; ``states`` holds those of generation 0 and of the one before.

    Raises FitFailed where the merged parameters are those of no distribution.
    """
    if generation == 0 or not is_merged(merge):
        return fitted
    mergeable = cast("MergeableEstimator", estimator)
    available = {
        REFERENCE: lambda: mergeable.parameters(states[0]),
        PREVIOUS: lambda: mergeable.parameters(states[generation - 1]),
        STREAM: lambda: Merging.of(merge, seed, generation).stream,
    }
    parameters = merged(merge, mergeable.parameters(fitted), available)
    return mergeable.of_parameters(parameters, states[generation - 1], generation)
