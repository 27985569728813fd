"""Metrics, their subjects and inputs, and how a metric is registered; imports nothing heavy.

A metric is a pure function of named inputs that returns a number, or a mapping of names to numbers. Artifacts hold what
is dear to compute (losses, features, states); cheap metrics are computed of these whenever a generation is recorded, so
that adding or editing one computes that one only. A dear metric is an artifact of its own.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from modelcollapse.registry import Member, RegistrationError, origin_of, register, registry

F = TypeVar("F", bound=Callable[..., Any])

SUBJECTS: Mapping[str, str] = MappingProxyType(
    {
        "synthetic": "the synthetic set of a generation",
        "real": "a set of real data, such as the test split, under a generation's model",
        "model": "a generation's model",
        "replicates": "the fitted parameters of all replicates of estimator families",
    }
)
"""What a metric may be of."""


@dataclass(frozen=True)
class MetricsSettings:
    """Which metrics are computed; in no key, and no part of a chain's identity."""

    set: Literal["default", "full"]
    """The metrics that are recorded unless said otherwise, or all that the model family offers inputs for."""
    add: tuple[str, ...]
    """Names of metrics beside the set."""
    remove: tuple[str, ...]
    """Names of metrics that are left out."""
    shown: tuple[str, ...] = ()
    """What tables of runs and sweeps show, flat names such as ``true/kl``; empty: the headline of the model family."""


def metric_problems(settings: MetricsSettings) -> list[str]:
    """One message for each name in ``add`` and ``remove`` that is no registered metric."""
    known = registry("metrics")
    return [
        f"metrics.{field_name}[{position}]: {known.unknown(name)}"
        for field_name in ("add", "remove")
        for position, name in enumerate(getattr(settings, field_name))
        if name not in known
    ]


@dataclass(frozen=True)
class Input:
    """One named input of metrics: how it is read from finished artifacts."""

    load: Callable[[Mapping[str, Path]], Any]
    """Reads it from the folders of the artifacts, by role."""
    roles: tuple[str, ...] = ()
    """The artifacts that it is read from."""
    recipe: Any = None
    """JSON values of the settings that decide it beside the artifacts: they enter the keys of dear metrics."""


@dataclass(frozen=True)
class Subject:
    """A subject of metrics, such as a synthetic set or the real test split."""

    of: str
    """One of :data:`SUBJECTS`."""
    prefix: str
    """What the flat names of its metrics begin with, such as ``synthetic/``."""
    inputs: Mapping[str, Input]
    """What a family offers of it, by name."""

    def offers(self, metric: Metric) -> bool:
        """Whether the metric can be computed of it."""
        return self.of in metric.of and set(metric.needs) <= self.inputs.keys()


@dataclass(frozen=True)
class Metric:
    """A registered metric with its description."""

    member: Member
    of: tuple[str, ...]
    """Of what it is computed, one or several of :data:`SUBJECTS`."""
    needs: tuple[str, ...]
    """Names of its inputs, which are the parameters of its function."""
    cost: Literal["cheap", "dear"] = "cheap"
    """``cheap``: well below a second, computed whenever a generation is recorded. ``dear``: an artifact of its own."""
    what: str = ""
    """What it is and how it is estimated, in a sentence."""
    unit: str = ""
    """Its unit; empty for a plain number."""
    caveat: str = ""
    """What has to be kept in mind when it is read."""
    is_default: bool = False
    """Whether ``metrics.set=default`` holds it."""
    records: tuple[str, ...] = ()
    """For a metric that returns a mapping: its names stand in the record without the metric's own name before them."""
    possible: tuple[float, float] | None = None
    """Smallest and largest possible value, where an interval must end; None for no bounds, or 0 to 1 of a share."""
    possible_of: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The same of single names of a mapping, where they differ."""

    @property
    def name(self) -> str:
        """The word that chooses it."""
        return self.member.name

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Name in the record, without the subject before it -> smallest and largest possible value."""
        whole = self.possible or ((0.0, 1.0) if self.unit == "share" else None)
        names = [None, *self.possible_of] if not self.records else self.records
        found = {self.flat_name("", key): self.possible_of.get(key or "", whole) for key in names}
        return {name: bounds for name, bounds in found.items() if bounds is not None}

    def flat_name(self, prefix: str, key: str | None = None) -> str:
        """The name in the record of what it returned for a subject; ``key`` is one of a mapping's names."""
        if key is None:
            return f"{prefix}{self.name}"
        return f"{prefix}{key}" if key in self.records else f"{prefix}{self.name}/{key}"


def metric_member(
    name: str,
    implementation: Callable[..., Any] | str,
    *,
    of: str | Sequence[str],
    needs: Sequence[str] | None = None,
    version: int = 1,
    label: str = "",
    **more: Any,
) -> Member:
    """A metric as a member of the registry.

    Args:
        name: The word that chooses it, and its flat name in the record after its subject: ``synthetic/<name>``.
        implementation: The function, or ``"module:function"``, which is imported when it is first computed.
        of: One or several of :data:`SUBJECTS`.
        needs: Its inputs; the parameters of the function where that is given and this is not.
        version: Raised by hand when it comes to mean other numbers.
        label: What it is called in figures and tables.
        **more: ``cost``, ``what``, ``unit``, ``caveat``, ``is_default``, ``records``, ``possible`` and ``possible_of``
            of :class:`Metric`.

    Raises:
        RegistrationError: ``of`` names something else, the inputs of a function that is imported later are not said, or
            a metric of replicates is dear.
    """
    subjects = (of,) if isinstance(of, str) else tuple(of)
    if unknown := sorted(set(subjects) - SUBJECTS.keys()):
        raise RegistrationError(f"metric {name!r} is of {unknown}; it must be of {', '.join(SUBJECTS)}")
    if "replicates" in subjects and more.get("cost") == "dear":
        raise RegistrationError(f"metric {name!r} is of replicates: what is dear of these, an estimator measures")
    if needs is None:
        if isinstance(implementation, str):
            raise RegistrationError(f"metric {name!r} does not say what it needs")
        needs = tuple(inspect.signature(implementation).parameters)
    options = {"of": subjects, "needs": tuple(needs), **more}
    member = Member("metrics", name, implementation, version, label=label, options=options)
    if not isinstance(implementation, str):
        member = replace(member, origin=origin_of(implementation))
    # A misspelt option raises here, where it stands, and not in a run.
    Metric(member, **options)
    return member


def metric(name: str, *, of: str | Sequence[str], version: int, label: str = "", **more: Any) -> Callable[[F], F]:
    """Register a function as a metric; a decorator.

    Its value stands in the record under ``synthetic/<name>`` where it is ``of="synthetic"``, under ``<split>/<name>``
    for each real split where it is ``of="real"``, under ``<name>`` where it is ``of="model"``, and under
    ``<name>/mean``, ``<name>/standard_deviation`` and percentiles over the replicates where it is ``of="replicates"``
    and returns a tensor [T, R]. It is computed in a run with ``metrics.add=[<name>]``, or with ``metrics.set=full``.
    The parameters of the function are the names of what it needs; ``**more`` are those of :func:`metric_member`.

    Example::

        @metric("types_per_token", label="types per token", of="synthetic", version=1)
        def types_per_token(tokens: torch.Tensor) -> float:  # [sequences, new tokens]
            return tokens.unique().numel() / tokens.numel()

    Raises:
        RegistrationError: another metric has the name, or what it is of is unknown.
    """

    def registered(function: F) -> F:
        register(metric_member(name, function, of=of, version=version, label=label, **more))
        return function

    return registered


def metrics() -> list[Metric]:
    """All registered metrics, by name."""
    return [Metric(member, **member.options) for member in registry("metrics").members()]


@dataclass(frozen=True)
class ChosenMetrics:
    """The metrics of one chain."""

    metrics: tuple[Metric, ...] = field(default=())

    @classmethod
    def of_settings(cls, settings: MetricsSettings, subjects: Sequence[Subject], family: str) -> ChosenMetrics:
        """What the settings ask for, as far as the family's subjects offer the inputs.

        Raises UserError where one that was added by name has inputs that the family does not offer.
        """
        there = [metric for metric in metrics() if any(subject.offers(metric) for subject in subjects)]
        if problems := _added_in_vain(settings, there, subjects, family):
            from modelcollapse.settings import SettingsError

            raise SettingsError(problems)
        wanted = {metric.name for metric in there if settings.set == "full" or metric.is_default}
        wanted = (wanted | set(settings.add)) - set(settings.remove)
        return cls(tuple(metric for metric in there if metric.name in wanted))

    def of(self, subject: Subject) -> list[Metric]:
        """Those that can be computed of a subject."""
        return [metric for metric in self.metrics if subject.offers(metric)]

    def roles(self, subjects: Sequence[Subject]) -> set[str]:
        """Roles of the artifacts that they are computed of."""
        return {
            role
            for subject in subjects
            for metric in self.of(subject)
            for need in metric.needs
            for role in subject.inputs[need].roles
        }

    def identity(self, subjects: Sequence[Subject]) -> dict[str, Any]:
        """Metric -> version, digest, origin, and roles of the artifacts that it is computed of: for the run folder."""
        return {
            metric.name: {
                **metric.member.identity(),
                "origin": metric.member.origin,
                "artifacts": sorted(_roles(metric, subjects)),
                "possible": {name: [_plain(end) for end in ends] for name, ends in metric.bounds().items()},
            }
            for metric in self.metrics
        }


def _plain(end: float) -> float | None:
    """An end of a range as JSON has it: null where there is none."""
    return end if math.isfinite(end) else None


def _roles(metric: Metric, subjects: Sequence[Subject]) -> set[str]:
    return ChosenMetrics((metric,)).roles(subjects)


def _added_in_vain(
    settings: MetricsSettings, there: Sequence[Metric], subjects: Sequence[Subject], family: str
) -> list[str]:
    offered = {metric.name for metric in there}
    return [
        f"metrics.add: {metric.name} is of {' or '.join(metric.of)} and needs {', '.join(metric.needs)}, which"
        f" model.family={family} does not offer; it offers {_offer(subjects)}"
        for metric in metrics()
        if metric.name in settings.add and metric.name not in offered
    ]


def _offer(subjects: Sequence[Subject]) -> str:
    offers = {subject.of: sorted(subject.inputs) for subject in subjects}
    return "; ".join(f"{of}: {', '.join(names)}" for of, names in offers.items())
