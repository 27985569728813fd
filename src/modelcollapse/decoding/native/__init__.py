"""The project's own decoding engine: transformers' results, without copying keys and values to follow the beams."""

from modelcollapse.decoding.native.engine import NativeEngine

__all__ = ["NativeEngine"]
