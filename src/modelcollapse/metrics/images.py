"""How sets of images differ: distances and neighbourhoods in a feature space, and the classes seen in them."""

from typing import NamedTuple

import torch
from torchmetrics.image.kid import poly_mmd

ROWS_AT_ONCE = 1024


class Manifolds(NamedTuple):
    """Precision and recall of a set of samples."""

    precision: float
    """Share of the samples that lie within the real manifold."""
    recall: float
    """Share of the real ones that lie within the samples' manifold."""


def kernel_inception_distance(real: torch.Tensor, samples: torch.Tensor) -> float:
    """Squared maximum mean discrepancy between features [rows, d] of both sets, without bias: it can be negative.

    The kernel is (x . y / d + 1)^3 (Bińkowski et al. 2018); all rows are used, not subsets of them, and as many of
    both. The features are of a classifier of one's own, since Inception's are of photographs. Raises
    ValueError for fewer than two rows.
    """
    rows = min(len(real), len(samples))
    if rows < 2:
        raise ValueError(f"a distance without bias needs two rows of each set, not {rows}")
    return float(poly_mmd(real[:rows].double(), samples[:rows].double()))


def precision_and_recall(real: torch.Tensor, samples: torch.Tensor, neighbours: int = 3) -> Manifolds:
    """Improved precision and recall (Kynkäänniemi et al. 2019) between features [rows, d] of both sets.

    The manifold of a set is the union of balls around its rows, each reaching to the row's ``neighbours``-th nearest
    neighbour within the set. Raises ValueError where a set has no more rows than ``neighbours``.
    """
    fewest = min(len(real), len(samples))
    if fewest <= neighbours:
        raise ValueError(f"{neighbours} neighbours are not available among {fewest} rows")
    real, samples = real.double(), samples.double()
    return Manifolds(
        precision=_share_within(samples, real, _radii(real, neighbours)),
        recall=_share_within(real, samples, _radii(samples, neighbours)),
    )


def _radii(rows: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Distance [rows] to the so-manieth nearest other row."""
    nearest = [_distances(some, rows).kthvalue(neighbours + 1, dim=1).values for some in rows.split(ROWS_AT_ONCE)]
    return torch.cat(nearest)


def _share_within(rows: torch.Tensor, centres: torch.Tensor, radii: torch.Tensor) -> float:
    within = [(_distances(some, centres) <= radii).any(1) for some in rows.split(ROWS_AT_ONCE)]
    return float(torch.cat(within).double().mean())


def _distances(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    # The expanded square, which cdist would take for many rows, cancels where rows agree: a row must be 0 from itself.
    return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")


def class_shares(logits: torch.Tensor) -> torch.Tensor:
    """Share of the rows [classes] that a classifier with these logits [rows, classes] sees in each class."""
    classes = logits.argmax(1)
    return torch.bincount(classes, minlength=logits.shape[1]).double() / len(classes)


def entropy(shares: torch.Tensor) -> float:
    """Entropy in nats of a distribution [classes]; ln(classes) where all are equally frequent, 0 where one is left."""
    return max(0.0, float(torch.special.entr(shares).sum()))


def confidence(logits: torch.Tensor) -> float:
    """Mean probability that a classifier with these logits [rows, classes] gives to the class it sees."""
    return float(logits.double().softmax(1).amax(1).mean())


# ---- as they are registered: parameters are the names of what a family offers ---------------------------------------


def kid(features: torch.Tensor, real_features: torch.Tensor) -> float:
    """Kernel inception distance between samples and real test images."""
    return kernel_inception_distance(real_features, features)


def manifolds(features: torch.Tensor, real_features: torch.Tensor, neighbours: int) -> dict[str, float]:
    """``precision`` and ``recall`` of the samples against real test images."""
    return precision_and_recall(real_features, features, neighbours)._asdict()


def class_share(logits: torch.Tensor) -> dict[str, float]:
    """Share of the samples that the classifier sees in each class, by the class's number."""
    return {str(number): float(share) for number, share in enumerate(class_shares(logits))}


def class_entropy(logits: torch.Tensor) -> float:
    """Entropy in nats of the classes that the classifier sees."""
    return entropy(class_shares(logits))


def latent_mean(latents: torch.Tensor) -> float:
    """Mean of all latent means [rows, latents]."""
    return float(latents.mean())


def latent_spread(latents: torch.Tensor) -> float:
    """Standard deviation of all latent means [rows, latents]."""
    return float(latents.std())


def samples(features: torch.Tensor) -> int:
    """How many samples are compared in feature space."""
    return len(features)


def images(reconstruction_losses: torch.Tensor) -> int:
    """How many real images there are."""
    return len(reconstruction_losses)


def elbo(mean_reconstruction_loss: float, mean_kl: float) -> float:
    """The evidence lower bound in nats per image."""
    return -(mean_reconstruction_loss + mean_kl)


def reconstruction(mean_reconstruction_loss: float) -> float:
    """Its first part, the loss of the reconstruction, in nats per image."""
    return mean_reconstruction_loss


def kl(mean_kl: float) -> float:
    """Its second part, the divergence from the prior, in nats per image."""
    return mean_kl


def classifier(classifier_test_accuracy: float) -> dict[str, float]:
    """``test_accuracy``: share of the real test images whose class the classifier sees."""
    return {"test_accuracy": classifier_test_accuracy}
