"""Metrics computed of finished artifacts: cheap ones where a generation is recorded, dear ones as artifacts."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from modelcollapse.errors import UserError
from modelcollapse.metrics.base import ChosenMetrics, Input, Metric, Subject
from modelcollapse.store import Artifact, BuildContext

METRIC = "metric"
"""Kind of the artifacts of dear metrics."""
VALUES_FILE = "values.safetensors"


class MetricFailed(UserError):
    """A metric raised an error or returned something else than numbers; the traceback follows the message."""


class _Inputs:
    """The inputs of one subject, each read once."""

    def __init__(self, inputs: Mapping[str, Input], folders: Mapping[str, Path]) -> None:
        self._inputs, self._folders = inputs, folders
        self._read: dict[str, Any] = {}

    def of(self, metric: Metric) -> dict[str, Any]:
        for need in metric.needs:
            if need not in self._read:
                self._read[need] = self._inputs[need].load(self._folders)
        return {need: self._read[need] for need in metric.needs}


def compute_metrics(
    chosen: ChosenMetrics, subjects: Sequence[Subject], folders: Mapping[str, Path], what: str
) -> dict[str, float]:
    """Flat name -> value of all chosen metrics of the subjects.

    Cheap ones are computed of the artifacts in ``folders``, by role; dear ones are read from their own. ``what`` names
    what is measured in messages, such as ``generation 3``. Raises MetricFailed.
    """
    found: dict[str, float] = {}
    for subject in subjects:
        inputs = _Inputs(subject.inputs, folders)
        for metric in chosen.of(subject):
            role = dear_role(metric, subject)
            values = _read_values(folders[role]) if metric.cost == "dear" else _computed(metric, subject, inputs, what)
            if twice := sorted(found.keys() & values.keys()):
                raise UserError(f"metric {metric.name!r} gives {', '.join(twice)}, which another one gives too")
            found |= values
    return found


def replicate_metrics(chosen: ChosenMetrics, subject: Subject, what: str) -> dict[str, Any]:
    """Name -> tensor [T, R] of the chosen metrics of replicates. Raises MetricFailed."""
    found: dict[str, Any] = {}
    inputs = _Inputs(subject.inputs, {})
    for metric in chosen.of(subject):
        value = _call(metric, inputs.of(metric), what)
        values = dict(value) if isinstance(value, Mapping) else {None: value}
        found |= {metric.flat_name(subject.prefix, key): tensor for key, tensor in values.items()}
    for name, tensor in found.items():
        if getattr(tensor, "ndim", None) != 2:
            raise UserError(
                f"{what}: metric {name!r} is of replicates: it must give a tensor [generations, replicates]"
            )
    return found


def _call(metric: Metric, arguments: Mapping[str, Any], what: str) -> Any:
    """What the metric's function returns. Raises MetricFailed with the traceback from the function on."""
    try:
        return metric.member.load()(**arguments)
    except Exception as error:
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        raise MetricFailed(_failure(metric, what), "".join(traceback.format_exception(error)).rstrip()) from error


def _computed(metric: Metric, subject: Subject, inputs: _Inputs, what: str) -> dict[str, float]:
    value = _call(metric, inputs.of(metric), what)
    values = dict(value) if isinstance(value, Mapping) else {None: value}
    plain = {metric.flat_name(subject.prefix, key): _number(part) for key, part in values.items()}
    for name, part in plain.items():
        if not isinstance(part, Real):
            why = f"{name} is {part!r}, a {type(part).__name__}, and no number"
            raise MetricFailed(f"{_failure(metric, what)}\n{why}")
    return plain


def _number(value: Any) -> Any:
    """A plain number of one of numpy or torch."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _failure(metric: Metric, what: str) -> str:
    return (
        f"{what}: metric {metric.name!r} failed. What was fitted and generated is kept; metrics.remove=[{metric.name}]"
        " leaves the metric out"
    )


# ---- dear metrics ---------------------------------------------------------------------------------------------------


def dear_role(metric: Metric, subject: Subject) -> str:
    """Role of a dear metric's artifact among those of a generation."""
    return f"{subject.prefix}{metric.name}".replace("/", "_")


def dear_artifacts(
    chosen: ChosenMetrics, subjects: Sequence[Subject], artifacts: Mapping[str, Artifact], what: str
) -> dict[str, Artifact]:
    """Declare the artifacts of the chosen dear metrics, role -> artifact.

    ``artifacts`` are those that the subjects' inputs are read from, by role; ``what`` is for labels.
    """
    return {
        dear_role(metric, subject): _dear_artifact(metric, subject, artifacts, what)
        for subject in subjects
        for metric in chosen.of(subject)
        if metric.cost == "dear"
    }


def _dear_artifact(metric: Metric, subject: Subject, artifacts: Mapping[str, Artifact], what: str) -> Artifact:
    inputs = {need: subject.inputs[need] for need in metric.needs}
    recipe = {
        "metric": metric.name,
        **metric.member.identity(),
        "subject": subject.prefix,
        "inputs": {need: one.recipe for need, one in inputs.items()},
    }
    parents = {role: artifacts[role] for one in inputs.values() for role in one.roles}
    build = partial(_build_dear, metric, subject, what)
    return Artifact(METRIC, recipe, parents, build, f"{what} · {metric.member.title}")


def _build_dear(metric: Metric, subject: Subject, what: str, context: BuildContext) -> None:
    import torch
    from safetensors.torch import save_file

    values = _computed(metric, subject, _Inputs(subject.inputs, context.parents), what)
    save_file(
        {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}, context.folder / VALUES_FILE
    )


def _read_values(folder: Path) -> dict[str, float]:
    from safetensors.torch import load_file

    return {name: float(value) for name, value in load_file(folder / VALUES_FILE).items()}
