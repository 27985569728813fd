"""A detector of generated rows: logistic regression on hashed n-grams, trained on real against generated ones."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from modelcollapse.errors import UserError
from modelcollapse.seeding import Stream
from modelcollapse.selections.choosing import Scored

BINS = 10
"""Bins of the expected calibration error."""
_MULTIPLIER = 1_000_003


class Detector:
    """The confidence that a row is real, 1 - c (after Drayson et al., arXiv 2502.15654, whose detector is a fixed one).

    Real rows and candidates are divided into folds, and each fold is scored by a logistic regression that was trained
    on the others: nothing scores a row that it was trained on. Where candidates are the rows of a training set, it is
    trained on the synthetic ones of them; equal rows, such as a real one here and there, are of one fold. What is
    detected are n-grams of tokens, or of the levels of grey along an image, so a row is a text or an image of numbers.
    """

    def __init__(self, features: int, longest_ngram: int, ridge: float, folds: int) -> None:
        self._features, self._longest_ngram = features, longest_ngram
        self._ridge, self._folds = ridge, folds

    def __call__(
        self,
        candidates: torch.Tensor,
        *,
        real_rows: torch.Tensor,
        stream: Stream,
        is_synthetic: torch.Tensor | None = None,
    ) -> Scored:
        """Scores [rows] between 0 and 1; with them AUC and calibration error on rows of other folds.

        ``is_synthetic`` [rows] says which of the candidates are; None where all are. Raises UserError where the rows
        outside a fold are all real or all synthetic.
        """
        rows = np.concatenate([real_rows.flatten(1).numpy(), candidates.flatten(1).numpy()])
        is_candidate = np.arange(len(rows)) >= len(real_rows)
        is_generated, groups = is_candidate.copy(), np.arange(len(rows))
        if is_synthetic is not None:
            is_generated[len(real_rows) :], groups = is_synthetic.numpy(), equal_rows(rows)
        # Real candidates are rows of the real ones, or fresh: they are scored only.
        is_trained = is_generated | ~is_candidate
        counts = hashed_ngrams(rows, self._features, self._longest_ngram)
        confidence = np.empty(len(rows))
        for held_out in self._parts(is_generated, groups, stream):
            model = self._fitted(counts, is_generated, is_trained & ~held_out)
            confidence[held_out] = model.predict_proba(counts[held_out])[:, 1]
        measures = {
            "detector_auc": float(roc_auc_score(is_generated[is_trained], confidence[is_trained])),
            "detector_calibration_error": calibration_error(confidence[is_trained], is_generated[is_trained]),
        }
        return Scored(torch.from_numpy(1 - confidence[is_candidate]), measures)

    def _fitted(self, counts: csr_matrix, is_generated: np.ndarray, rows: np.ndarray) -> LogisticRegression:
        """The detector that is trained on some of the rows."""
        if len(np.unique(is_generated[rows])) < 2:
            raise UserError(
                "selection.scorer: 'detector' is trained on real and on synthetic rows outside each fold, and there are"
                " too few of either; use more rows, or another scorer"
            )
        model = LogisticRegression(C=1 / self._ridge, class_weight="balanced", max_iter=1000)
        return model.fit(counts[rows], is_generated[rows])

    def _parts(self, is_generated: np.ndarray, groups: np.ndarray, stream: Stream) -> Iterator[np.ndarray]:
        """For each fold whether a row is of it; groups of real rows and of generated ones are divided evenly."""
        has_real = np.zeros(groups.max() + 1, dtype=bool)
        has_real[groups[~is_generated]] = True
        generator, fold = stream.numpy(), np.empty(len(has_real), dtype=np.int64)
        for kind in (True, False):
            places = np.flatnonzero(has_real == kind)
            fold[generator.permutation(places)] = np.arange(len(places)) % self._folds
        yield from (fold[groups] == number for number in range(self._folds))


def equal_rows(rows: np.ndarray) -> np.ndarray:
    """The number of the group of equal rows that each row [rows, length] is of, from 0 on."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in np.ascontiguousarray(rows)])


def hashed_ngrams(rows: np.ndarray, features: int, longest: int) -> csr_matrix:
    """Square roots of how often n-grams of 1 to ``longest`` numbers stand in rows [rows, length], [rows, features]."""
    codes, columns = np.zeros_like(rows, dtype=np.uint64), []
    for length in range(1, longest + 1):
        codes = codes[:, : rows.shape[1] - length + 1] * np.uint64(_MULTIPLIER)
        codes = codes + rows[:, length - 1 :].astype(np.uint64) + np.uint64(1)
        mixed = codes ^ (codes >> np.uint64(33))
        columns.append((mixed * np.uint64(0xFF51AFD7ED558CCD) >> np.uint64(33)) % np.uint64(features))
    places = np.concatenate(columns, axis=1).astype(np.int64)
    numbers = np.repeat(np.arange(len(rows)), places.shape[1])
    counts = csr_matrix((np.ones(places.size), (numbers, places.ravel())), shape=(len(rows), features))
    return counts.sqrt()


def calibration_error(confidence: np.ndarray, is_generated: np.ndarray) -> float:
    """Expected calibration error: mean distance of confidence and truth over bins of equal width, by their rows."""
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    differences = np.bincount(bins, confidence - is_generated, minlength=BINS)
    return float(np.abs(differences).sum() / len(confidence))
