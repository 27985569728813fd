"""A reward of images: what a classifier takes them for."""

import torch

from modelcollapse.errors import UserError


class ImageClass:
    """The log-probability that an image is of some classes, by the chain's classifier, which knows real images alone.

    Without classes it is that of the class that the classifier is surest of: its confidence.
    """

    def __init__(self, classes: tuple[int, ...]) -> None:
        self._classes = list(classes)

    def __call__(self, candidates: torch.Tensor, *, class_log_probabilities: torch.Tensor) -> torch.Tensor:
        """Scores [rows], in nats. Raises UserError where there is no such class."""
        if not self._classes:
            return class_log_probabilities.amax(1)
        if max(self._classes) >= class_log_probabilities.shape[1]:
            raise UserError(
                f"selection.scorer.classes: {self._classes} is not allowed; classes count from 0 to"
                f" {class_log_probabilities.shape[1] - 1}"
            )
        return class_log_probabilities[:, self._classes].logsumexp(1)
