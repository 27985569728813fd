"""The edit ``token_resampling``: tokens that a prior is too sure of are drawn anew (ToEdit, arXiv 2412.14689)."""

import torch

from modelcollapse.decoding.native.sampling import Cut, draw
from modelcollapse.edits.applying import Edited


class TokenResampling:
    """Resamples the tokens whose probability under the prior exceeds a limit, all at once.

    x'_i ~ p(. | x_<i) where p(x_i | x_<i) > ``above``, else x_i: every token is looked at after the unedited ones
    before it. The first token of a block follows nothing, and stays. ``prior`` and ``folder`` say which model p is of;
    the family reads them.
    """

    def __init__(self, above: float, top_k: int, prior: str, folder: str | None = None) -> None:
        self._above, self._cut = above, Cut(top_k=top_k)

    def __call__(self, tokens: torch.Tensor, *, logits: torch.Tensor, chance: torch.Tensor) -> Edited:
        """Edited tokens [rows, length] and which of them were drawn anew.

        ``logits`` [rows, length - 1, vocabulary] are the prior's for every token after the first, ``chance``
        [rows, length - 1] numbers between 0 and 1.
        """
        following = tokens[:, 1:].long()
        probabilities = logits.log_softmax(-1).gather(-1, following[..., None])[..., 0].exp()
        is_sure = probabilities > self._above
        edited = tokens.clone()
        edited[:, 1:][is_sure] = draw(self._cut(logits[is_sure]), chance[is_sure]).to(tokens.dtype)
        return Edited(edited, torch.cat([torch.zeros_like(is_sure[:, :1]), is_sure], dim=1))
