"""Grey images of 28 x 28 pixels: read, split, kept as one tensor per split, and served batch by batch.

Images are tensors [rows, 28, 28] of grey levels from 0 to 255: unsigned bytes where they are real, half precision
where a model drew them, which is within a sixteenth of a level. Networks see intensities from 0 to 1.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from pytorch_lightning import LightningDataModule
from safetensors import safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset, Sampler

from modelcollapse.data.batches import EVERYTHING, EpochSampler, Share, in_order_together
from modelcollapse.data.idx import PARTS, BadImages, idx_files, read_idx
from modelcollapse.regimes import rows_of
from modelcollapse.seeding import Stream
from modelcollapse.settings.vae import DigitsDataSettings, ImageDataSettings, ImagesDataSettings

FILE = "images.safetensors"
SIDE = 28
GREY_LEVELS = 255
DIGITS_GREY_LEVELS = 16
ORDER = Stream(0, 0, "images.order")
"""Shuffles a data set once for all chains, so that any first rows of it are a fair sample."""


class LabelledImages(NamedTuple):
    """Images [rows, 28, 28] in grey levels, and their classes [rows]."""

    images: torch.Tensor
    labels: torch.Tensor

    def rows(self, which: slice | torch.Tensor) -> "LabelledImages":
        """Some of the rows."""
        return LabelledImages(self.images[which], self.labels[which])


def as_intensities(images: torch.Tensor) -> torch.Tensor:
    """Grey levels [rows, 28, 28] as intensities from 0 to 1, float32 [rows, 1, 28, 28]."""
    return images.unsqueeze(1).float() / GREY_LEVELS


def as_grey(intensities: torch.Tensor) -> torch.Tensor:
    """Intensities [rows, 1, 28, 28] as grey levels, half precision [rows, 28, 28]."""
    return (intensities.squeeze(1).float() * GREY_LEVELS).half()


# ---- where images come from -----------------------------------------------------------------------------------


def real_splits(data: ImageDataSettings) -> dict[str, LabelledImages]:
    """The splits train, validation, test and, where rows are set aside, reserve.

    Raises BadImages where images cannot be read or are fewer than asked for.
    """
    if isinstance(data, DigitsDataSettings):
        everything = _shuffled(_digits())
        cut = len(everything.images) - data.test_rows
        if cut < 1:
            raise BadImages(f"data.test_rows: {data.test_rows} must be below the {len(everything.images)} digits")
        training, test = everything.rows(slice(cut)), everything.rows(slice(cut, None))
    else:
        training, test = (_shuffled(_part(data, part)) for part in PARTS)
        test = test.rows(slice(data.test_rows))
    return {**_training_splits(data, training), "test": test}


def _shuffled(images: LabelledImages) -> LabelledImages:
    return images.rows(torch.from_numpy(ORDER.numpy().permutation(len(images.images))))


def _training_splits(data: ImageDataSettings, images: LabelledImages) -> dict[str, LabelledImages]:
    left = len(images.images) - data.validation_rows
    train_rows = left if data.train_rows is None else data.train_rows
    reserved = rows_of(data.reserve, train_rows)
    if train_rows > left or train_rows - reserved < 1:
        raise BadImages(
            f"data.train_rows={data.train_rows}, data.validation_rows={data.validation_rows}, data.reserve="
            f"{data.reserve:g} cannot be had out of {len(images.images)} images for training"
        )
    splits = {
        "validation": images.rows(slice(left, None)),
        "train": images.rows(slice(train_rows - reserved)),
    }
    if reserved:
        splits["reserve"] = images.rows(slice(train_rows - reserved, train_rows))
    return splits


def _digits() -> LabelledImages:
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images).float()[:, None] * (GREY_LEVELS / DIGITS_GREY_LEVELS)
    resized = functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return LabelledImages(resized[:, 0].round().byte(), torch.from_numpy(digits.target).long())


def _part(data: ImagesDataSettings, part: str) -> LabelledImages:
    files = idx_files(Path(data.path).expanduser(), part)
    if files is None:
        images, labels, source = *_hub_part(data, part), f"data.path={data.path}, split {part}"
    else:
        images, labels, source = read_idx(files[0], 3), read_idx(files[1], 1), str(files[0])
    if images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8:
        sizes = " x ".join(map(str, images.shape[1:]))
        raise BadImages(f"{source}: holds images of {sizes} pixels, {images.dtype}; they must be 28 x 28 grey bytes")
    if len(images) != len(labels):
        raise BadImages(f"{source}: {len(images)} images, but {len(labels)} labels")
    if not len(images):
        raise BadImages(f"{source}: holds no images")
    return LabelledImages(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))


def _hub_part(data: ImagesDataSettings, part: str) -> tuple[np.ndarray, np.ndarray]:
    rows = _load_part(data, part)
    for column in (data.image_column, data.label_column):
        if column not in rows.column_names:
            raise BadImages(f"{data.path}: has no column {column!r}; there are {', '.join(rows.column_names)}")
    images = [np.asarray(image) for image in rows[data.image_column]]
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise BadImages(f"{data.path}: the images of split {part} have {len(shapes)} different shapes")
    return np.stack(images), np.asarray(rows[data.label_column])


def _load_part(data: ImagesDataSettings, part: str) -> Any:
    import datasets

    folder = Path(data.path).expanduser()
    try:
        if (folder / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(folder))[part]
        source = str(folder) if folder.is_dir() else data.path
        return datasets.load_dataset(source, revision=data.revision, split=part)
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadImages(
            f"data.path={data.path}: the split {part!r} could not be loaded ({reason}); without a network, name a"
            " folder with MNIST's four idx files with data.path=FOLDER, or choose data=digits"
        ) from error


# ---- the file of a data piece ---------------------------------------------------------------------------------


def write_splits(folder: Path, splits: dict[str, LabelledImages]) -> None:
    """Write images and labels of the splits to the folder's image file."""
    tensors = {f"{split}_images": part.images.contiguous() for split, part in splits.items()}
    tensors |= {f"{split}_labels": part.labels.contiguous() for split, part in splits.items()}
    save_file(tensors, folder / FILE)


def write_images(folder: Path, split: str, images: torch.Tensor) -> None:
    """Write images without labels as a split of the folder's image file."""
    save_file({f"{split}_images": images.contiguous()}, folder / FILE)


def read_images(folder: Path, split: str) -> torch.Tensor:
    """Images of a split in grey levels."""
    return _read(folder, f"{split}_images")


def read_labels(folder: Path, split: str) -> torch.Tensor:
    """Classes of a split's images."""
    return _read(folder, f"{split}_labels")


def image_count(folder: Path, split: str) -> int:
    """Number of images of a split, without reading them; none where there is no such split."""
    with safe_open(folder / FILE, framework="pt") as file:
        name = f"{split}_images"
        count: int = file.get_slice(name).get_shape()[0] if name in file.keys() else 0  # noqa: SIM118
        return count


def _read(folder: Path, name: str) -> torch.Tensor:
    with safe_open(folder / FILE, framework="pt") as file:
        return file.get_tensor(name)


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
        of_latents, of_noise = (stream.at(self._epoch).torch() for stream in (self._latent_stream, self._noise_stream))
        for rows in self._order:
            drawn = sum(row >= self._held for row in rows)
            latents = torch.randn(drawn, self._latents, generator=of_latents)
            yield Batch(rows, latents, torch.randn(len(rows), self._latents, generator=of_noise))


class _TrainingRows(Dataset[dict[str, Any]]):
    def __init__(self, training: TrainingImages, share: Share) -> None:
        self._training, self._share = training, share

    def __len__(self) -> int:
        return self._training.rows

    def __getitem__(self, batch: Batch) -> dict[str, Any]:
        """Of the share of a batch: held images in grey levels, latents of others; weights and noise in that order.

        With summed losses multiplied by their scales, the average over the processes is the sum over the whole batch.
        A process that is left without a row takes one that counts nothing.
        """
        held = [row for row in batch.rows if row < self._training.held]
        drawn = [row for row in batch.rows if row >= self._training.held]
        own = self._share.of_batch(range(len(batch.rows)))
        taken = list(own or range(1))
        own_latents = [place - len(held) for place in taken if place >= len(held)]
        return {
            "images": self._training.images[[held[place] for place in taken if place < len(held)]],
            "latents": batch.latents[own_latents],
            "weights": self._training.weights[[(held + drawn)[place] for place in taken]] * bool(own),
            "noise": batch.noise[taken],
            "scale": float(self._share.world_size),
        }


class ImagesDataModule(LightningDataModule):
    """A composed training set and the real validation split of one fit, or one process's share of them."""

    def __init__(
        self,
        training: TrainingImages,
        validation: NoisyImages,
        sampler: DrawingSampler,
        scoring_batch_size: int,
        share: Share = EVERYTHING,
    ) -> None:
        super().__init__()
        self._training = _TrainingRows(training, share)
        self._validation, self._sampler, self._scoring_batch_size = validation, sampler, scoring_batch_size
        self._share = share
        # A validation split may have fewer rows than there are processes.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Training batches in the epoch's own order."""
        return DataLoader(self._training, sampler=self._sampler, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """The real validation images in order, and their noise."""
        return in_order_together(self._validation, self._scoring_batch_size, self._share)


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
