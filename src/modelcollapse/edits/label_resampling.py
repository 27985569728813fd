"""The edit ``label_resampling``: the linear analogue of ToEdit (arXiv 2412.14689), on labels of the same features."""

import numpy as np
import torch

from modelcollapse.edits.applying import Edited
from modelcollapse.seeding import Stream


class LabelResampling:
    """Gives some rows labels of the model, fewer in every generation.

    y_{t+1} = M_t (X w_t + e_{t+1}) + (1 - M_t) y_t, with M_t of zeros and ones on the diagonal and tr M_t =
    ``decay``^t ``share`` n, rounded; which rows these are is drawn for each generation and replicate.
    """

    def __init__(self, share: float, decay: float) -> None:
        self._share, self._decay = share, decay

    def __call__(self, rows: torch.Tensor, *, written: torch.Tensor, generation: int, stream: Stream) -> Edited:
        """Edited rows [R, n, d] and whether each was, [R, n].

        ``written`` are the rows that the model of ``generation`` writes, with the features of ``rows``.
        """
        replicates, count = rows.shape[:2]
        edited = round(self._share * self._decay**generation * count)
        order = np.argsort(stream.numpy().random((replicates, count)), axis=1)
        is_edited = torch.from_numpy(order) < edited
        return Edited(torch.where(is_edited[..., None], written, rows), is_edited)
