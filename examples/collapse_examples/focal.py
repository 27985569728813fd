"""The loss ``focal`` (Lin et al., Focal Loss for Dense Object Detection, ICCV 2017), for language models."""

import torch


def focal(logits: torch.Tensor, targets: torch.Tensor, *, gamma: float) -> torch.Tensor:
    """Losses [rows] of logits [rows, vocabulary] and targets [rows]: cross-entropy times (1 - p) ** gamma.

    Gradients come from automatic differentiation, a chunk of rows at a time; scores are cross-entropy as ever.
    """
    log_probabilities = torch.log_softmax(logits, dim=1).gather(1, targets[:, None]).squeeze(1)
    return -((1 - log_probabilities.exp()) ** gamma) * log_probabilities
