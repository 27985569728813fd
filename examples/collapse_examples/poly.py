"""The loss ``poly`` (Leng et al., PolyLoss, ICLR 2022, its Poly-1), for language models."""

import torch


def poly(logits: torch.Tensor, targets: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """Losses [rows] of logits [rows, vocabulary] and targets [rows]: cross-entropy and epsilon times 1 - p.

    Gradients come from automatic differentiation, a chunk of rows at a time; scores are cross-entropy as ever.
    """
    log_probabilities = torch.log_softmax(logits, dim=1).gather(1, targets[:, None]).squeeze(1)
    return epsilon * (1 - log_probabilities.exp()) - log_probabilities
