"""The decodings' entries in the registry."""

from modelcollapse.decoding.settings import DecodingSettings, NoDecodingSettings
from modelcollapse.registry import Member

ENGINE = "modelcollapse.decoding.engine:engine_for"

MEMBERS = (
    Member("decodings", "beam", ENGINE, settings=DecodingSettings),
    Member("decodings", "sample", ENGINE, settings=DecodingSettings),
    Member("decodings", "none", None, settings=NoDecodingSettings, options={"decodes": False}),
)
