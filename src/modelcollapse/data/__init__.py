"""Real data: kinds of them, each of a form.

A form is the interface that a model family needs; a kind is one implementation of it. A kind's member in the registry
names its form, its settings class, and its class, which is constructed with the settings:

| form | settings class, or one derived from it | class, or one derived from it |
| --- | --- | --- |
| ``text`` | :class:`~.settings.TextSettings` | :class:`~.text.Text` |
| ``known_language`` | :class:`~.settings.KnownLanguageSettings` | :class:`~.language.KnownLanguage` |
| ``images`` | :class:`~.settings.ImageSettings` | :class:`~.images.Images` |
| ``gaussian_samples`` | :class:`~.settings.SamplesSettings` with ``mean`` and ``covariance`` | none |
| ``categorical_samples`` | the same with ``probabilities`` | none |
| ``linear_samples``, ``logistic_samples`` | :class:`~.labelled_samples.LabelledSamplesSettings` | none |
| ``points`` | :class:`~.settings.SamplesSettings` | one with ``draw(replicates, rows, stream)`` |
| ``samples`` | the same with ``mean`` and ``covariance`` | one with ``draw(replicates, rows, stream)`` |

A family from outside may name a form of its own.
"""

from typing import Any

from modelcollapse.registry import registry


def data_of(settings: Any) -> Any:
    """The data that the settings name; imports their class. None where settings describe the data completely."""
    implementation = registry("data")[settings.kind].load()
    return None if implementation is None else implementation(settings)


def data_code(settings: Any) -> dict[str, Any]:
    """Code identity of the data for recipes; empty where settings describe the data completely."""
    member = registry("data")[settings.kind]
    return {} if member.implementation is None else {"code": member.identity()}
