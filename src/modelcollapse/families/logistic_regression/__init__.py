"""Logistic regression: labels written by the model of the generation before (Dey and Donoho 2024)."""
