"""Options of a registered family: what reading settings and a report need without importing the family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from modelcollapse.registry import Member, RegistrationError, registry
from modelcollapse.selections.settings import SelectionSettings, refuse

if TYPE_CHECKING:
    from modelcollapse.families.presentation import Presentation

Check = Callable[[Any, Any, Any, Any], list[str]]
"""What is wrong between model, data, decoding and regime, each allowed by itself: one message a problem."""

ChainCheck = Callable[[Any, Any, Any, Any, int], list[str]]
"""As Check, with the number of generations: what is wrong in any of them."""

SelectionCheck = Callable[[SelectionSettings, Any, Any, Any], list[str]]
"""What is wrong between selection, model, data and decoding, each allowed by itself: one message a problem."""

FLOAT64_ON_CPU = ("auto", "cpu")
"""Accelerators of families that compute in float64 on the CPU."""


@dataclass(frozen=True)
class FamilyOptions:
    """The ``options`` of a family's Member."""

    forms: tuple[str, ...]
    """Forms of data that it fits; a kind of data names its form, see modelcollapse.data."""
    decodes: bool = False
    """Whether its synthetic sets are continuations that a decoding writes; else they are samples of the model."""
    goes_with: str = ""
    """Groups to choose beside the model, shown where others were chosen."""
    checks: tuple[Check, ...] = ()
    """Each looks at few settings: one that needs a setting that is wrong in itself is left out."""
    chain_checks: tuple[ChainCheck, ...] = ()
    """As ``checks``, of whole chains."""
    selection_checks: tuple[SelectionCheck, ...] = (refuse,)
    """As ``checks``; by default a family refuses selections."""
    accelerators: tuple[str, ...] = ("auto", "cpu", "gpu", "mps")
    """Where the family can be computed."""
    shares_fits: bool = False
    """Whether several devices can share a fit: it then has gradients to be averaged."""
    stages: str = ""
    """``"module:name"`` of its stages, of which a chain's id and the lock know; that module imports nothing heavy."""
    memory: str = ""
    """``"module:function"`` of the bytes that a chain is expected to take, from its settings; imports nothing heavy."""
    presentation: str = ""
    """``"module:name"`` of its Presentation; empty shows its metrics by their names."""

    @property
    def companions(self) -> str:
        """What to choose beside the model, in words."""
        return self.goes_with or f"data of the form {' or '.join(self.forms)}"


def family(
    name: str, implementation: Any, settings: type, *, version: int = 1, label: str = "", **options: Any
) -> Member:
    """The Member of a model family; ``options`` are those of FamilyOptions, and ``settings`` the class of ``model``.

    Raises RegistrationError for options that there are not.
    """
    _checked(name, options)
    return Member("families", name, implementation, version, settings, label, options)


def family_options(name: str) -> FamilyOptions:
    """The options of the family of that name. Raises UserError for an unknown name."""
    member = registry("families")[name]
    return _checked(name, member.options)


def _checked(name: str, options: Mapping[str, Any]) -> FamilyOptions:
    try:
        return FamilyOptions(**options)
    except TypeError as error:
        known = ", ".join(field.name for field in fields(FamilyOptions))
        raise RegistrationError(f"options of the family {name!r}: {error}; there are: {known}") from error


def presentation_of(name: str) -> Presentation:
    """What a report shows of a family's chains; nothing in particular for a family that is unknown here.

    A report of finished chains may stand on a machine that lacks the family's extension.
    """
    from modelcollapse.families.presentation import Presentation

    place = family_options(name).presentation if name in registry("families") else ""
    if not place:
        return Presentation()
    module, _, attribute = place.partition(":")
    presentation: Presentation = getattr(import_module(module), attribute)
    return presentation
