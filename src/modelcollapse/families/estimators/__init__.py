"""Families so cheap that many generations are advanced in one fit, over a batch of independent replicates."""
