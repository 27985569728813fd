"""Linear regression: labels written by the model of the generation before (Gerstgrasser et al. 2024)."""
