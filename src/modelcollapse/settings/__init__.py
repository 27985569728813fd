"""Every setting: type, range, one line of meaning. Imports nothing heavy."""

from modelcollapse.settings.chain import ChainSettings, read_chain_settings
from modelcollapse.settings.reading import SettingsError

__all__ = ["ChainSettings", "SettingsError", "read_chain_settings"]
