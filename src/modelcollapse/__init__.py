"""The laboratory for model collapse."""
