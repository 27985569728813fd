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
