"""Model families. Adding one touches this package, ``data``, ``conf`` and the tests, never the chain."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from modelcollapse.families.base import AnyFamily

if TYPE_CHECKING:
    from modelcollapse.config.settings import ChainSettings
    from modelcollapse.families.presentation import Presentation
    from modelcollapse.training.trainer import Execution


FAMILIES = {
    "language_model": "modelcollapse.families.language_model.family:LanguageModelFamily",
    "gaussian": "modelcollapse.families.gaussian.estimator:GaussianFamily",
    "gaussian_mixture": "modelcollapse.families.gaussian_mixture.estimator:GaussianMixtureFamily",
    "discrete": "modelcollapse.families.discrete.estimator:DiscreteFamily",
    "vae": "modelcollapse.families.vae.family:VaeFamily",
}
"""Family -> module and class; imported only when chosen, since each brings heavy libraries of its own."""

PRESENTATIONS = {
    "language_model": "modelcollapse.families.language_model.presentation:PRESENTATION",
    "gaussian": "modelcollapse.families.gaussian_mixture.presentation:GAUSSIAN",
    "gaussian_mixture": "modelcollapse.families.gaussian_mixture.presentation:GAUSSIAN_MIXTURE",
    "discrete": "modelcollapse.families.gaussian_mixture.presentation:DISCRETE",
    "vae": "modelcollapse.families.vae.presentation:PRESENTATION",
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
