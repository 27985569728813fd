"""Model families. Adding one touches this package, ``data``, ``conf`` and the tests, never the chain."""

from typing import TYPE_CHECKING

from modelcollapse.models.family import AnyFamily

if TYPE_CHECKING:
    from modelcollapse.execution.trainer import Execution
    from modelcollapse.settings import ChainSettings


def family_for(settings: "ChainSettings", execution: "Execution") -> AnyFamily:
    """The family that the model settings name."""
    from modelcollapse.models.language_model.family import LanguageModelFamily

    families = {"language_model": LanguageModelFamily}
    return families[settings.model.family](settings, execution)
