"""Kernel density estimates of what the estimate before wrote (Kazdan et al. 2024)."""
