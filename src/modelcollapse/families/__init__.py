"""Model families, a folder each; adding one touches nothing outside its folder, its conf and its tests."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from modelcollapse.families.options import presentation_of
from modelcollapse.registry import registry

if TYPE_CHECKING:
    from modelcollapse.config.settings import ChainSettings
    from modelcollapse.families.base import Family
    from modelcollapse.training.trainer import Execution

__all__ = ["family_for", "presentation_of"]


def family_for(settings: "ChainSettings", execution: "Execution") -> "Family":
    """The family that the model settings name; imports it."""
    family: Callable[[ChainSettings, Execution], Family] = registry("families")[settings.model.family].load()
    return family(settings, execution)
