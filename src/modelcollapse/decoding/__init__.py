"""How a language model writes."""

from modelcollapse.decoding.engine import Engine, decoding_recipe, engine_for

__all__ = ["Engine", "decoding_recipe", "engine_for"]
