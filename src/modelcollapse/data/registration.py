"""The kinds of data's entries in the registry; what each form asks of a kind is said in modelcollapse.data."""

from modelcollapse.data import labelled_samples, points
from modelcollapse.data import settings as of
from modelcollapse.registry import Member


def _kind(name: str, form: str, settings: type, implementation: str | None = None) -> Member:
    place = implementation and f"modelcollapse.data.{implementation}"
    return Member("data", name, place, settings=settings, options={"form": form})


MEMBERS = (
    _kind("language", "known_language", of.LanguageDataSettings, "language:BuiltInLanguage"),
    _kind("text_files", "text", of.TextFilesDataSettings, "text:TextFiles"),
    _kind("hub", "text", of.HubDataSettings, "text:HubText"),
    _kind("digits", "images", of.DigitsDataSettings, "images:Digits"),
    _kind("images", "images", of.ImagesDataSettings, "images:ImageFiles"),
    _kind("gaussian_samples", "gaussian_samples", of.GaussianSamplesSettings),
    _kind("categorical_samples", "categorical_samples", of.CategoricalSamplesSettings),
    _kind("shapes", "points", points.ShapesSettings, "points:Shapes"),
    _kind("linear_samples", "linear_samples", labelled_samples.LinearSamplesSettings),
    _kind("logistic_samples", "logistic_samples", labelled_samples.LogisticSamplesSettings),
)
