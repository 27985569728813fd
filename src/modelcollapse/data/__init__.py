"""Real data: kinds of them, each of a form.

A form is what a model family asks of data; a kind is one way to have data of that form. A kind's member in the registry
names its form, its settings class and the class that answers for it, made from the settings:

==========================  =========================================================  ==============================
form                        settings class, or one derived from it                     class, or one derived from it
==========================  =========================================================  ==============================
``text``                    :class:`~modelcollapse.data.settings.TextSettings`         :class:`~.text.Text`
``known_language``          :class:`~modelcollapse.data.settings.KnownLanguageSettings`  :class:`~.text.KnownLanguage`
``images``                  :class:`~modelcollapse.data.settings.ImageSettings`        :class:`~.images.Images`
``gaussian_samples``        :class:`~modelcollapse.data.settings.SamplesSettings` with ``mean`` and ``covariance``  none
``categorical_samples``     the same with ``probabilities``                            none
``samples``                 the same with ``mean`` and ``covariance``                  with ``draw``
==========================  =========================================================  ==============================

A family from outside may name a form of its own.
"""

from typing import Any

from modelcollapse.registry import registry


def data_of(settings: Any) -> Any:
    """What answers for the data that the settings name; imports it. None where the settings say all themselves."""
    implementation = registry("data")[settings.kind].load()
    return None if implementation is None else implementation(settings)


def data_code(settings: Any) -> dict[str, Any]:
    """What recipes hold of the code that draws or reads the data; nothing where the settings say all themselves."""
    member = registry("data")[settings.kind]
    return {} if member.implementation is None else {"code": member.identity()}
