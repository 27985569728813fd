"""Decorators with which a script, a notebook or a package registers; ``import modelcollapse as mc`` has all of them.

Each decorator adds a member to the registry of its kind and gives back what it decorates:

    @mc.regime("every_kth", version=1)
    class EveryKth:
        k: int = 2

        def compose(self, generation: int) -> list[mc.Draw]:
            return [mc.Draw.real()] if generation % self.k == 0 else [mc.Draw.latest()]

The annotated fields of a class are its settings: they are read and checked like all others, and given to it when it is
made. ``version`` is raised by hand when the member comes to mean other numbers; ``label`` is what it is called in
figures and tables. Further options of a kind are keyword arguments, such as ``needs=("reference_losses",)``.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from modelcollapse.metrics.base import metric
from modelcollapse.registry import Member, RegistrationError, origin_of, register
from modelcollapse.settings import EXECUTION

__all__ = [
    "callback",
    "dataset",
    "decoder",
    "edit",
    "family",
    "logger",
    "loss",
    "merge",
    "metric",
    "optimizer",
    "regime",
    "rule",
    "schedule",
    "scorer",
]

T = TypeVar("T")
Decorator = Callable[[T], T]

MUTABLE_KINDS = ("callbacks", "loggers")
"""Kinds whose objects have state of their own; those of other kinds are frozen."""


def scorer(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a scorer of a selection, chosen by ``selection/scorer=NAME``.

    It is called with the candidates [rows, ...] and returns one finite number a row, high for rows to keep. The option
    ``needs`` names further inputs, passed as keyword arguments: ``reference_losses``, ``writer_losses``,
    ``true_log_likelihood``, ``real_rows``, ``stream``, ``is_synthetic``.
    """
    return _registering("scorers", name, label, version, options)


def rule(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a rule of a selection, chosen by ``selection/rule=NAME``.

    It is called with the number of candidates and the number of rows wanted, and by the option ``needs`` with
    ``scores`` [candidates], ``stream`` and ``shortfall``; see :mod:`modelcollapse.selections.rules`.
    """
    return _registering("rules", name, label, version, options)


def merge(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a merge, chosen by ``merge=NAME``: what is done to the weights of a generation after its fit.

    It is called with the fitted weights, name -> tensor, and returns as many of the same shapes. The option ``needs``
    names further inputs, passed as keyword arguments: ``reference``, ``previous``, ``stream``; see
    :mod:`modelcollapse.merges.methods`.
    """
    return _registering("merges", name, label, version, options)


def edit(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register an edit of real data, chosen by ``editing=NAME``; the option ``of`` is ``"tokens"`` or ``"labels"``.

    One of tokens is called with blocks [rows, length] and by keyword with ``logits`` [rows, length - 1, vocabulary] of
    the prior and ``chance`` [rows, length - 1]; one of labels with rows [R, n, d], ``written``, ``generation`` and
    ``stream``. It returns as many rows; see :mod:`modelcollapse.edits.token_resampling`.
    """
    return _registering("edits", name, label, version, options)


def regime(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a regime by rule, chosen by ``regime=NAME``: a class with ``compose(generation)``.

    ``compose`` returns a list of :class:`~modelcollapse.regimes.composition.Draw`; see
    :mod:`modelcollapse.regimes.rules`.
    """
    return _registering("regimes", name, label, version, options)


def loss(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a loss of language models, chosen by ``model.training.loss=NAME``.

    It is called with the logits [rows, vocabulary] and targets [rows] of a chunk and returns a loss a row, in nats. A
    method ``in_place`` that brings the gradient saves memory; without it automatic differentiation does.
    """
    return _registering("losses", name, label, version, options)


def optimizer(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register an optimizer, chosen by ``model.training.optimizer=NAME``.

    It is called with the parameters and the training settings and returns a :class:`torch.optim.Optimizer`; see
    :mod:`modelcollapse.training.optimizers`.
    """
    return _registering("optimizers", name, label, version, options)


def schedule(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a schedule of the learning rate, chosen by ``model.training.schedule=NAME``.

    It is called with the step, the steps of an epoch, the epochs and the training settings, and returns the learning
    rate as a share of its peak; see :mod:`modelcollapse.training.schedules`.
    """
    return _registering("schedules", name, label, version, options)


def callback(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a Lightning callback, chosen by ``callbacks=[NAME]``.

    The option ``changes_results`` is required: whether the weights can depend on the callback, which is then part of
    the fit's recipe. Further options are in :mod:`modelcollapse.training.callbacks`.
    """
    return _registering("callbacks", name, label, version, options)


def logger(name: str, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a logger, chosen by ``logger=[NAME]``: a view of the record, beside the run's own files.

    Its interface is :class:`~modelcollapse.record.identity.View`, not that of Lightning's loggers.
    """
    return _registering("loggers", name, label, version, options)


def dataset(
    name: str, form: str, settings: type, *, label: str = "", version: int = 1, **options: Any
) -> Decorator[Any]:
    """Register a kind of real data, which ``data.kind`` names: a class of the form, see :mod:`modelcollapse.data`.

    ``settings`` is its settings class; ``kind`` and ``name`` are added where it has none with a default.
    """
    named = _with_names(settings, kind=name, label=label or name)
    return _registering("data", name, label, version, {"form": form, **options}, named)


def decoder(name: str, settings: type, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a decoding, which ``decoding.kind`` names: a function of network, settings and stream.

    It returns an :class:`~modelcollapse.decoding.engine.Engine`. ``settings`` is derived from
    :class:`~modelcollapse.decoding.settings.DecodingSettings`.
    """
    return _registering("decodings", name, label, version, options, _with_names(settings, kind=name, label=""))


def family(name: str, settings: type, *, label: str = "", version: int = 1, **options: Any) -> Decorator[Any]:
    """Register a model family, which ``model.family`` names: a class with the interface of a family.

    That is :class:`~modelcollapse.families.base.Family`, of which
    :class:`~modelcollapse.families.estimators.family.EstimatorFamily` implements most for distributions.

    ``settings`` is the class of ``model``; ``family`` and ``name`` are added where it has none with a default.
    ``options`` are those of :class:`~modelcollapse.families.options.FamilyOptions`: the forms of data that it fits,
    how it is shown.
    """
    from modelcollapse.families.options import family as family_member

    named = _with_names(settings, family=name, label=label or name)

    def registered(implementation: Any) -> Any:
        member = family_member(name, implementation, named, version=version, label=label, **options)
        register(dataclasses.replace(member, origin=origin_of(implementation)))
        return implementation

    return registered


def _registering(
    kind: str, name: str, label: str, version: int, options: dict[str, Any], settings: type | None = None
) -> Decorator[Any]:
    def registered(implementation: Any) -> Any:
        own = settings if settings is not None else _settings_of(kind, implementation)
        origin = origin_of(implementation)
        register(Member(kind, name, implementation, version, own, label, options, origin))
        return implementation

    return registered


def _settings_of(kind: str, implementation: Any) -> type | None:
    """The settings class of what is decorated: a class with annotated fields is made a dataclass of them."""
    if not isinstance(implementation, type) or not inspect.get_annotations(implementation):
        return None
    if kind in MUTABLE_KINDS:
        made: Any = dataclasses.dataclass(implementation, eq=False)
        hints = typing.get_type_hints(made, include_extras=True)
        own: list[Any] = [
            (field.name, hints[field.name], dataclasses.field(default=field.default))
            if field.default_factory is dataclasses.MISSING
            else (field.name, hints[field.name], dataclasses.field(default_factory=field.default_factory))
            for field in dataclasses.fields(made)
        ]
        return dataclasses.make_dataclass(f"{made.__name__}Settings", own, frozen=True)
    if not dataclasses.is_dataclass(implementation):
        dataclasses.dataclass(frozen=True)(implementation)
    return implementation


def _with_names(settings: type, *, label: str, **word: str) -> type:
    """The settings class with the field that names the member, and a ``name`` for people where there is a label."""
    if not dataclasses.is_dataclass(settings):
        raise RegistrationError(f"settings={settings!r} must be a dataclass, with a field for each setting")
    missing = dataclasses.MISSING
    there = {
        field.name
        for field in dataclasses.fields(settings)
        if field.default is not missing or field.default_factory is not missing
    }
    added: list[Any] = [(key, str, dataclasses.field(default=value)) for key, value in word.items()]
    added += [("name", Annotated[str, EXECUTION], dataclasses.field(default=label))] if label else []
    added = [each for each in added if each[0] not in there]
    if not added:
        return settings
    return dataclasses.make_dataclass(settings.__name__, added, bases=(settings,), frozen=True, kw_only=True)
