"""Metrics of language models: functions of stored losses, in nats per token, and of tokens."""

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from modelcollapse.metrics import distribution

if TYPE_CHECKING:
    import torch

RARE_MASS = 0.1
"""Probability that the rarest words hold together at most."""

Losses = npt.NDArray[np.float64]
"""Mean loss per token of every sequence, [sequences]."""


def perplexity(mean_loss: float) -> float:
    """Exponential of the mean loss over all predicted tokens of a set."""
    return distribution.perplexity(mean_loss)


def perplexity_without_line_starts(mean_loss_without_line_starts: float) -> float:
    """Exponential of the mean loss over the predicted tokens that are no start of a line."""
    return distribution.perplexity(mean_loss_without_line_starts)


def bits_per_byte(mean_loss: float, token_bytes: "torch.Tensor") -> float:
    """Loss in bits over the UTF-8 bytes of the predicted tokens, those after the first of each row of a set."""
    targets = token_bytes[:, 1:]
    return distribution.bits_per_byte(mean_loss * targets.numel(), int(targets.sum()))


def loss_standard_error(sequence_losses: Losses) -> float:
    """Standard error of the mean loss over sequences, which are independent where blocks of text are."""
    return float(sequence_losses.std(ddof=1) / math.sqrt(len(sequence_losses)))


def reference_perplexity(reference_losses: Losses, real_reference_losses: Losses) -> dict[str, float]:
    """How perplexities of sequences under generation 0's model are spread, against those of real validation text."""
    return _summary(reference_losses, real_reference_losses)


def true_perplexity(true_losses: Losses, real_true_losses: Losses) -> dict[str, float]:
    """The same under the true distribution of the built-in language."""
    return _summary(true_losses, real_true_losses)


def _summary(losses: Losses, real_losses: Losses) -> dict[str, float]:
    return distribution.perplexity_summary(np.exp(losses), distribution.tail_bounds(np.exp(real_losses)))


def true_nll(true_losses: Losses) -> float:
    """Mean loss per token under the true distribution, over sequences."""
    return float(true_losses.mean())


def against_truth(test_loss: float, true_test_loss: float) -> dict[str, float]:
    """``true/perplexity`` of the true distribution on the real test split, ``true/kl``: the model's divergence from it.

    The divergence per predicted token is log perplexity of the model - log perplexity of the truth, an unbiased
    estimate: no model beats the truth but by chance of the sample.
    """
    # Through the perplexity, as the record has it.
    loss = math.log(distribution.perplexity(test_loss))
    return {"true/perplexity": distribution.perplexity(true_test_loss), "true/kl": loss - true_test_loss}


class Language(Protocol):
    """A language whose words have known probabilities."""

    def unigram(self) -> npt.NDArray[np.float64]:
        """Probability of each word, [V]."""
        ...


def rare_word_share(tokens: "torch.Tensor", language: Language) -> float:
    """Share of the tokens that are among the rarest words of the true distribution."""
    return float(rare_words(language.unigram())[np.asarray(tokens)].mean())


def rare_words_kept(tokens: "torch.Tensor", language: Language) -> float:
    """Share of the rarest words of the true distribution that occur in the tokens, in [0, 1]."""
    rare = np.flatnonzero(rare_words(language.unigram()))
    return float(np.isin(rare, np.asarray(tokens)).mean())


def rare_words(unigram: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which words [V] are the rarest that together hold at most a tenth of the true probability."""
    rarest_first = np.argsort(unigram, kind="stable")
    rare = np.zeros(len(unigram), dtype=bool)
    rare[rarest_first[np.cumsum(unigram[rarest_first]) <= RARE_MASS]] = True
    return rare
