"""Engines over networks of the store; what a process that only writes imports."""

from pathlib import Path

from modelcollapse.decoding.engine import Engine, engine_for, engine_name
from modelcollapse.decoding.native import NativeEngine
from modelcollapse.models.language_model.network import load_network, network_without_weights
from modelcollapse.seeding import Stream
from modelcollapse.settings.decoding import DecodingSettings


def engine_over(folder: Path, settings: DecodingSettings, stream: Stream) -> Engine:
    """The engine that the settings lead to over the network of a folder."""
    return engine_for(load_network(folder), settings, stream)


def engines_at_once(folder: Path, settings: DecodingSettings, length: int) -> int | None:
    """How many engines over a folder's network fit in memory, each at work on prompts of ``length`` tokens.

    None for transformers' engine, whose memory has no bound.
    """
    network = network_without_weights(folder)
    if engine_name(settings, network.config.model_type) != "native":
        return None
    return NativeEngine(network, settings, Stream(0, 0, "none")).engines_at_once(length)
