"""Model families. Adding one touches this package, ``data``, ``conf`` and the tests, never the chain."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from modelcollapse.models.family import AnyFamily

if TYPE_CHECKING:
    from modelcollapse.execution.trainer import Execution
    from modelcollapse.models.presentation import Presentation
    from modelcollapse.settings.chain import ChainSettings

FAMILIES = {
    "language_model": "modelcollapse.models.language_model.family:LanguageModelFamily",
    "gaussian": "modelcollapse.models.segmented.gaussian:GaussianFamily",
    "gaussian_mixture": "modelcollapse.models.segmented.mixture:GaussianMixtureFamily",
    "discrete": "modelcollapse.models.segmented.discrete:DiscreteFamily",
    "vae": "modelcollapse.models.vae.family:VaeFamily",
}
"""Family -> module and class; imported only when chosen, since each brings heavy libraries of its own."""

PRESENTATIONS = {
    "language_model": "modelcollapse.models.language_model.presentation:PRESENTATION",
    "gaussian": "modelcollapse.models.segmented.presentations:GAUSSIAN",
    "gaussian_mixture": "modelcollapse.models.segmented.presentations:GAUSSIAN_MIXTURE",
    "discrete": "modelcollapse.models.segmented.presentations:DISCRETE",
    "vae": "modelcollapse.models.vae.presentation:PRESENTATION",
}
"""Family -> module and name of what a report shows of it; importing them brings no heavy library."""


def presentation_of(family: str) -> "Presentation":
    """What a report shows of the chains of a family; raises KeyError for a family unknown here."""
    module, name = PRESENTATIONS[family].split(":")
    presentation: Presentation = getattr(import_module(module), name)
    return presentation


def family_for(settings: "ChainSettings", execution: "Execution") -> AnyFamily:
    """The family that the model settings name."""
    module, name = FAMILIES[settings.model.family].split(":")
    family: Callable[[ChainSettings, Execution], AnyFamily] = getattr(import_module(module), name)
    return family(settings, execution)
