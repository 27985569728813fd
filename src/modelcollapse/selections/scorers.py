"""The built-in scorers: a number for each row that a model generated; rules keep those with high ones.

A scorer is called with the candidates [rows, ...] as the family stores them (tokens, grey images), and by keyword with
what its registration lists in ``needs``, see :data:`modelcollapse.selections.settings.NEEDS`.
"""

import torch


class Surplexity:
    """The loss under the reference model, so that what surprises it most is kept (Gambetta et al., arXiv 2410.12341).

    The order is that of the reference perplexity, which is the exponential of the loss.
    """

    def __call__(self, candidates: torch.Tensor, *, reference_losses: torch.Tensor) -> torch.Tensor:
        """Scores [rows], in nats."""
        return reference_losses


class Confidence:
    """The log-likelihood under the model that generated the row: self-verification."""

    def __call__(self, candidates: torch.Tensor, *, writer_losses: torch.Tensor) -> torch.Tensor:
        """Scores [rows], in nats."""
        return -writer_losses


class TrueLikelihood:
    """The log-likelihood under the true distribution, where that is known: what a perfect verifier would go by."""

    def __call__(self, candidates: torch.Tensor, *, true_log_likelihood: torch.Tensor) -> torch.Tensor:
        """Scores [rows], in nats."""
        return true_log_likelihood
