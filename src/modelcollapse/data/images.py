"""Grey images of 28 x 28 pixels: read, split, kept as one tensor per split, and served batch by batch.

Images are tensors [rows, 28, 28] of grey levels from 0 to 255: unsigned bytes where they are real, half precision
where a model drew them, which is within a sixteenth of a level. Networks see intensities from 0 to 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors import safe_open
from safetensors.torch import save_file

from modelcollapse.data.hub import data_set, source_recipe, taken_in
from modelcollapse.data.idx import PARTS, BadImages, idx_files, read_idx
from modelcollapse.data.settings import ImagesDataSettings, ImageSettings
from modelcollapse.data.sources import fingerprint, reason_of
from modelcollapse.regimes import rows_of
from modelcollapse.seeding import Stream
from modelcollapse.settings import identity_of

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


class Images(ABC):
    """Base class of data of the form ``images``, constructed with their settings."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @abstractmethod
    def training_and_test(self) -> tuple[LabelledImages, LabelledImages]:
        """All images that are not tested on, and those that are, in an order in which any first ones are a fair sample.

        Unsigned bytes [rows, 28, 28] with labels int64 [rows]; ``shuffled`` brings such an order. Raises BadImages
        where they cannot be read.
        """

    def source(self) -> Mapping[str, Any]:
        """Identity of the images as JSON, for the key of the real data: files by their content.

        By the settings, unless a class says more.
        """
        split = {field.name for field in fields(ImageSettings)} - {"kind"}
        return {name: value for name, value in identity_of(self.settings).items() if name not in split}

    def recipe(self) -> dict[str, Any]:
        """The images, and how they are split."""
        sizes = ("train_rows", "validation_rows", "test_rows", "reserve")
        return {"source": self.source(), **{name: getattr(self.settings, name) for name in sizes}}

    def splits(self) -> dict[str, LabelledImages]:
        """The splits train, validation, test and, where rows are set aside, reserve.

        Raises BadImages where images cannot be read or are fewer than asked for.
        """
        training, test = self.training_and_test()
        return {**_training_splits(self.settings, training), "test": test.rows(slice(self.settings.test_rows))}


def shuffled(images: LabelledImages) -> LabelledImages:
    """The images in an order of their own, the same for all chains."""
    return images.rows(torch.from_numpy(ORDER.numpy().permutation(len(images.images))))


def _training_splits(data: ImageSettings, images: LabelledImages) -> dict[str, LabelledImages]:
    left = len(images.images) - data.validation_rows
    train_rows = left if data.train_rows is None else data.train_rows
    reserved = rows_of(data.reserve, train_rows)
    if train_rows > left or train_rows - reserved < 1:
        raise BadImages(
            f"data.train_rows={data.train_rows}, data.validation_rows={data.validation_rows}, data.reserve="
            f"{data.reserve:g} is not available out of {len(images.images)} images for training"
        )
    splits = {
        "validation": images.rows(slice(left, None)),
        "train": images.rows(slice(train_rows - reserved)),
    }
    if reserved:
        splits["reserve"] = images.rows(slice(train_rows - reserved, train_rows))
    return splits


class Digits(Images):
    """scikit-learn's handwritten digits, resized; the last ones of the shuffled are tested on."""

    def source(self) -> Mapping[str, Any]:
        """The library that they come with."""
        return {"digits": "scikit-learn"}

    def training_and_test(self) -> tuple[LabelledImages, LabelledImages]:
        """The digits in shuffled order, cut."""
        everything = shuffled(_digits())
        cut = len(everything.images) - self.settings.test_rows
        if cut < 1:
            raise BadImages(
                f"data.test_rows: {self.settings.test_rows} must be below the {len(everything.images)} digits"
            )
        return everything.rows(slice(cut)), everything.rows(slice(cut, None))


def _digits() -> LabelledImages:
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images).float()[:, None] * (GREY_LEVELS / DIGITS_GREY_LEVELS)
    resized = functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return LabelledImages(resized[:, 0].round().byte(), torch.from_numpy(digits.target).long())


class ImageFiles(Images):
    """Idx files, or an image data set of the Hugging Face hub or a local copy of one."""

    def source(self) -> Mapping[str, Any]:
        """Idx files and local folders by content, the hub by id and commit."""
        data, folder = self.settings, Path(self.settings.path).expanduser()
        files = {part: idx_files(folder, part) for part in PARTS}
        if all(files.values()):
            return {"files": {part: [fingerprint(file) for file in found or ()] for part, found in files.items()}}
        return {
            **source_recipe(data.path, data.revision, "data.path"),
            "columns": [data.image_column, data.label_column],
        }

    def training_and_test(self) -> tuple[LabelledImages, LabelledImages]:
        """The data set's own splits, each shuffled."""
        training, test = (shuffled(_part(self.settings, part)) for part in PARTS)
        return training, test


def _part(data: ImagesDataSettings, part: str) -> LabelledImages:
    files = idx_files(Path(data.path).expanduser(), part)
    if files is None:
        images, labels = _hub_part(data, part)
        source = f"data.path={data.path}, split {part}"
    else:
        images, labels = (read_idx(file, sizes, data.unpacked_gb) for file, sizes in zip(files, (3, 1), strict=True))
        source = str(files[0])
    if images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8:
        sizes = " x ".join(map(str, images.shape[1:]))
        raise BadImages(f"{source}: holds images of {sizes} pixels, {images.dtype}; they must be 28 x 28 grey bytes")
    if len(images) != len(labels):
        raise BadImages(f"{source}: {len(images)} images, but {len(labels)} labels")
    if not len(images):
        raise BadImages(f"{source}: holds no images")
    return LabelledImages(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))


def _hub_part(data: ImagesDataSettings, part: str) -> tuple[np.ndarray, np.ndarray]:
    with _rows(data, part) as rows:
        for column in (data.image_column, data.label_column):
            if column not in rows.column_names:
                raise BadImages(f"{data.path}: has no column {column!r}; there are {', '.join(rows.column_names)}")
        images, labels = list(rows[data.image_column]), list(rows[data.label_column])
    for column, values in ((data.image_column, images), (data.label_column, labels)):
        if None in values:
            row = values.index(None) + 1
            raise BadImages(f"{data.path}: column {column!r} holds nothing in row {row} of split {part!r}")
    arrays = [np.asarray(image) for image in images]
    shapes = {image.shape for image in arrays}
    if len(shapes) != 1:
        raise BadImages(f"{data.path}: the images of split {part} have {len(shapes)} different shapes")
    return np.stack(arrays), np.asarray(labels)


@contextmanager
def _rows(data: ImagesDataSettings, part: str) -> Iterator[Any]:
    with taken_in(data.path, data.revision, "data.path", "dataset") as folder, ExitStack() as stack:
        try:
            rows = stack.enter_context(data_set(folder, None, part))
        except Exception as error:
            # The library raises errors of all kinds for what files hold.
            raise BadImages(
                f"data.path={data.path}: the split {part!r} could not be loaded"
                f" ({reason_of(error.__cause__ or error)}); without a"
                " network, name a folder with MNIST's four idx files with data.path=FOLDER, or choose data=digits"
            ) from error
        yield rows


# ---- the file of a data artifact ---------------------------------------------------------------------------------


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
