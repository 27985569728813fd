"""Every setting: type, range, one line of meaning. Imports nothing heavy."""
