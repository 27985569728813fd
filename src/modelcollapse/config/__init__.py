"""Composing, reading and guarding the configuration: everything that touches Hydra or OmegaConf."""
