"""The kinds of data's entries in the registry; what each form asks of a kind is in modelcollapse.data.forms."""

from modelcollapse.data import settings as of
from modelcollapse.registry import Member


def _kind(name: str, form: str, implementation: str, settings: type) -> Member:
    return Member("data", name, f"modelcollapse.data.{implementation}", settings=settings, options={"form": form})


MEMBERS = (
    _kind("language", "token_blocks", "language:LanguageData", of.LanguageDataSettings),
    _kind("text_files", "text", "text:TextFiles", of.TextFilesDataSettings),
    _kind("hub", "text", "text:HubText", of.HubDataSettings),
    _kind("digits", "images", "images:Digits", of.DigitsDataSettings),
    _kind("images", "images", "images:ImageFiles", of.ImagesDataSettings),
    _kind("gaussian_samples", "gaussian_samples", "samples:GaussianSamples", of.GaussianSamplesSettings),
    _kind("categorical_samples", "categorical_samples", "samples:CategoricalSamples", of.CategoricalSamplesSettings),
)
