"""The decodings' entries in the registry."""

from modelcollapse.decoding.settings import DecodingSettings, NoDecodingSettings
from modelcollapse.registry import Member

ENGINE = "modelcollapse.decoding.engine:engine_for"
COMMON = ("kind", "new_tokens", "prompt_tokens", "repetition_penalty", "no_repeat_ngram")
BEAM = (*COMMON, "beams", "length_penalty")
SAMPLE = (*COMMON, "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon")

MEMBERS = (
    Member("decodings", "beam", ENGINE, settings=DecodingSettings, options={"fields": BEAM}),
    Member("decodings", "sample", ENGINE, settings=DecodingSettings, options={"fields": SAMPLE}),
    Member("decodings", "none", None, settings=NoDecodingSettings, options={"decodes": False}),
)
