"""Decoding: how a language model generates text."""

from modelcollapse.decoding.engine import Engine, decoding_recipe, engine_for

__all__ = ["Engine", "decoding_recipe", "engine_for"]
