"""The metric ``most_frequent_token``."""

import torch


def most_frequent_token(tokens: torch.Tensor) -> float:
    """Share of the tokens [sequences, new tokens] of a synthetic set that are its most frequent one."""
    return float(tokens.flatten().bincount().max()) / tokens.numel()
