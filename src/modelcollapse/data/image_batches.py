"""Image rows as networks are trained on them: batches of several sources, drawn anew or stored."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from modelcollapse.data.batches import ONLY_RANK, EpochSampler, Rank, in_order_together
from modelcollapse.data.images import LabelledImages
from modelcollapse.seeding import Stream

# ---- images that are scored -----------------------------------------------------------------------------------


class NoisyImages(NamedTuple):
    """Images in grey levels [rows, 28, 28], and the noise [rows, latents] that their latents are drawn with.

    The noise belongs to the image: a score is the same one in whatever batches, and on whatever device.
    """

    images: torch.Tensor
    noise: torch.Tensor

    @classmethod
    def draw(cls, images: torch.Tensor, latents: int, stream: Stream) -> "NoisyImages":
        """Images with standard normal noise from the stream."""
        return cls(images, torch.randn(len(images), latents, generator=stream.torch()))


# ---- training sets --------------------------------------------------------------------------------------------


class TrainingImages(NamedTuple):
    """A composed training set: rows that are held, then rows that a decoder draws anew whenever they come."""

    images: torch.Tensor
    """Held images [held, 28, 28] in grey levels."""
    weights: torch.Tensor
    """Weights [held + drawn], mean 1."""

    @property
    def held(self) -> int:
        """Rows that are held."""
        return len(self.images)

    @property
    def rows(self) -> int:
        """Rows of the whole training set."""
        return len(self.weights)


class Batch(NamedTuple):
    """Rows of a training set, and what is random about them.

    The noise is for rows that are held, then for those that are drawn. It belongs to the rows, whoever takes them.
    """

    rows: list[int]
    latents: torch.Tensor
    """Latents [drawn, latents] of the rows among them that are drawn anew."""
    noise: torch.Tensor
    """Standard normal numbers [rows, latents] that the encoder's latents are drawn with."""


class DrawingSampler(Sampler[Batch]):
    """An epoch's batches, with standard normal latents for the rows that a decoder draws, and noise for all.

    All follow from streams and the epoch alone, so that a fit resumes at any epoch, and on any number of devices.
    """

    def __init__(self, order: EpochSampler, held: int, latents: int, latent_stream: Stream, noise: Stream) -> None:
        self._order, self._held, self._latents = order, held, latents
        self._latent_stream, self._noise_stream = latent_stream, noise
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration serves; Lightning calls this before each epoch."""
        self._epoch = epoch
        self._order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        of_latents = self._latent_stream.at(self._order.epoch).torch()
        of_noise = self._noise_stream.at(self._epoch).torch()
        for rows in self._order:
            drawn = sum(row >= self._held for row in rows)
            latents = torch.randn(drawn, self._latents, generator=of_latents)
            yield Batch(rows, latents, torch.randn(len(rows), self._latents, generator=of_noise))


class _TrainingRows(Dataset[dict[str, Any]]):
    def __init__(self, training: TrainingImages, rank: Rank) -> None:
        self._training, self._rank = training, rank

    def __len__(self) -> int:
        return self._training.rows

    def __getitem__(self, batch: Batch) -> dict[str, Any]:
        """This rank's part of a batch: held images in grey levels, latents of others; weights and noise in that order.

        With summed losses multiplied by their scales, the average over the processes is the sum over the whole batch.
        A process that is left without a row takes one that counts nothing.
        """
        held = [row for row in batch.rows if row < self._training.held]
        drawn = [row for row in batch.rows if row >= self._training.held]
        own = self._rank.of_batch(range(len(batch.rows)))
        taken = list(own or range(1))
        own_latents = [place - len(held) for place in taken if place >= len(held)]
        return {
            "images": self._training.images[[held[place] for place in taken if place < len(held)]],
            "latents": batch.latents[own_latents],
            "weights": self._training.weights[[(held + drawn)[place] for place in taken]] * bool(own),
            "noise": batch.noise[taken],
            "scale": float(self._rank.world_size),
        }


class ImagesDataModule(LightningDataModule):
    """A composed training set and the real validation split of one fit, or one rank's part of them."""

    def __init__(
        self,
        training: TrainingImages,
        validation: NoisyImages,
        sampler: DrawingSampler,
        scoring_batch_size: int,
        rank: Rank = ONLY_RANK,
    ) -> None:
        super().__init__()
        self._training = _TrainingRows(training, rank)
        self._validation, self._sampler, self._scoring_batch_size = validation, sampler, scoring_batch_size
        self._rank = rank
        # A validation split may have fewer rows than there are processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Training batches in the epoch's own order."""
        return DataLoader(self._training, sampler=self._sampler, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """The real validation images in order, and their noise."""
        return in_order_together(self._validation, self._scoring_batch_size, self._rank)


class LabelledDataModule(LightningDataModule):
    """Images with their classes: a training and a validation split, served in whole batches."""

    def __init__(
        self,
        training: LabelledImages,
        validation: LabelledImages,
        sampler: EpochSampler,
        scoring_batch_size: int,
    ) -> None:
        super().__init__()
        self._training, self._validation = _LabelledRows(training), _LabelledRows(validation)
        self._sampler, self._scoring_batch_size = sampler, scoring_batch_size

    def train_dataloader(self) -> DataLoader[LabelledImages]:
        """Training batches in the epoch's own order."""
        return DataLoader(self._training, sampler=self._sampler, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[LabelledImages]:
        """The validation split in order."""
        rows, size = len(self._validation), self._scoring_batch_size
        batches = [list(range(start, min(start + size, rows))) for start in range(0, rows, size)]
        return DataLoader(self._validation, sampler=batches, batch_size=None, generator=torch.Generator())


class _LabelledRows(Dataset[LabelledImages]):
    def __init__(self, images: LabelledImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images.images)

    def __getitem__(self, rows: list[int]) -> LabelledImages:
        return LabelledImages(self._images.images[rows], self._images.labels[rows])
