import gzip
import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from modelcollapse.data import data_of
from modelcollapse.data.batches import EpochSampler
from modelcollapse.data.idx import BadImages, read_idx
from modelcollapse.data.image_batches import DrawingSampler, ImagesDataModule, TrainingImages
from modelcollapse.data.images import as_grey, as_intensities
from modelcollapse.data.settings import DigitsDataSettings, ImagesDataSettings
from modelcollapse.data.sources import BadSource
from modelcollapse.seeding import Stream

RANDOM = np.random.default_rng(0)


def digits(**changes):
    values = {"train_rows": None, "validation_rows": 200, "test_rows": 300, "reserve": 0.0, **changes}
    return DigitsDataSettings(kind="digits", name="digits", **values)


def images(path, **changes):
    columns = {"image_column": "image", "label_column": "label"}
    sizes = {"train_rows": None, "validation_rows": 5, "test_rows": None, "reserve": 0.0}
    return ImagesDataSettings(kind="images", name="x", path=str(path), revision=None, **{**columns, **sizes, **changes})


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx_folder(folder, side=28, train=30, test=12, zipped=True):
    """Images whose first pixel is their number, so that rows can be told apart."""
    written = {}
    for head, rows in (("train", train), ("t10k", test)):
        pictures = RANDOM.integers(0, 256, (rows, side, side), dtype=np.uint8)
        pictures[:, 0, 0] = np.arange(rows)
        labels = np.arange(rows) % 10
        for name, content in ((f"{head}-images-idx3-ubyte", pictures), (f"{head}-labels-idx1-ubyte", labels)):
            path = folder / (f"{name}.gz" if zipped else name)
            path.write_bytes(gzip.compress(idx(content)) if zipped else idx(content))
        written[head] = pictures
    return written


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_are_read_and_split_without_a_row_twice(tmp_path, zipped):
    written = write_idx_folder(tmp_path, zipped=zipped)
    splits = data_of(images(tmp_path, reserve=0.2)).splits()
    sizes = {split: len(part.images) for split, part in splits.items()}
    assert sizes == {"train": 20, "reserve": 5, "validation": 5, "test": 12}
    training = torch.cat([splits[split].images for split in ("train", "reserve", "validation")])
    assert sorted(training[:, 0, 0].tolist()) == list(range(30))
    for row in range(3):
        number = int(splits["train"].images[row, 0, 0])
        assert np.array_equal(splits["train"].images[row], written["train"][number])
        assert int(splits["train"].labels[row]) == number % 10


def test_fewer_rows_are_the_first_of_more(tmp_path):
    write_idx_folder(tmp_path)
    few, all_rows = (data_of(images(tmp_path, train_rows=rows, test_rows=4)).splits() for rows in (10, None))
    assert torch.equal(few["train"].images, all_rows["train"].images[:10])
    assert torch.equal(few["validation"].images, all_rows["validation"].images)
    assert len(few["test"].images) == 4


def test_mnist_itself(shared_data):
    folder = shared_data / "mnist"
    if not folder.is_dir():
        pytest.skip("needs MNIST's idx files in ../shared/data/mnist")
    splits = data_of(images(folder, validation_rows=5000)).splits()
    assert {split: tuple(part.images.shape) for split, part in splits.items()} == {
        "train": (55000, 28, 28),
        "validation": (5000, 28, 28),
        "test": (10000, 28, 28),
    }
    assert torch.bincount(splits["test"].labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    training = torch.cat([splits["train"].images, splits["validation"].images]).double()
    assert float(training.mean() / 255) == pytest.approx(0.1307, abs=1e-4)
    assert float(training.std() / 255) == pytest.approx(0.3081, abs=1e-4)


@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("ending", ["-ubyte", "-ubyte.gz", "dotted", "dotted.gz"])
def test_idx_files_are_found_under_their_usual_names_and_below_the_folder(tmp_path, below, ending):
    folder = tmp_path / "data" / below
    folder.mkdir(parents=True)
    written = write_idx_folder(folder, zipped=ending.endswith(".gz"))
    plain = data_of(images(folder)).source()
    if ending.startswith("dotted"):
        for path in folder.iterdir():
            path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    (tmp_path / "data" / "other").mkdir(exist_ok=True)
    found = data_of(images(tmp_path / "data"))
    assert found.source() == plain
    assert sorted(found.splits()["test"].images[:, 0, 0].tolist()) == list(range(12))
    assert len(written["train"]) == 30


def test_two_folders_of_idx_files_are_no_choice(tmp_path):
    for name in ("digits", "letters"):
        (tmp_path / name).mkdir()
        write_idx_folder(tmp_path / name)
    with pytest.raises(BadImages, match=r"digits and .*letters hold idx files; name one of them"):
        data_of(images(tmp_path)).source()


def test_an_idx_file_that_announces_more_than_is_allowed_is_not_read(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 28, 28) + bytes(10**6)))
    with pytest.raises(BadImages, match=r"is larger than 20 GB; data.unpacked_gb=NUMBER allows more"):
        read_idx(path, 3)
    with pytest.raises(BadImages, match="but 1000000 follow"):
        read_idx(path, 3, 10_000)


def test_a_pipe_in_the_place_of_an_idx_file_is_not_waited_for(tmp_path):
    write_idx_folder(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(BadSource, match="train-images-idx3-ubyte: is a named pipe"):
        data_of(images(tmp_path)).source()


def test_a_row_without_a_label_is_named(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = {"image": [np.zeros((28, 28), dtype=np.uint8).tolist()] * 3, "label": [1, None, 2]}
    part = Dataset.from_dict(rows)
    DatasetDict(train=part, test=part).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(BadImages, match="column 'label' holds nothing in row 2 of split 'train'"):
        data_of(images(tmp_path / "saved")).splits()


BROKEN = {
    "labels in place of images": (idx(np.zeros(5)), "is no idx file of unsigned bytes in 3 dimensions"),
    "floats": (bytes([0, 0, 13, 3]) + bytes(12), "is no idx file of unsigned bytes in 3 dimensions"),
    "something else": (b"<html>", "begins with the bytes 3c 68 74 6d, not 00 00 08 03"),
    "nothing": (b"", "begins with the bytes (none)"),
    "half a header": (bytes([0, 0, 8, 3, 0, 0]), "ends inside its header, after 6 of 16 bytes"),
    "truncated": (idx(np.zeros((3, 28, 28)))[:-5], "announces 3 x 28 x 28 = 2352 bytes, but 2347 follow"),
    "too long": (idx(np.zeros((1, 28, 28))) + b"x", "announces 1 x 28 x 28 = 784 bytes, but 785 follow"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_idx_file_is_reported(tmp_path, name):
    content, message = BROKEN[name]
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(BadImages) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("broken", [lambda packed: packed[:-20], lambda packed: b"\x1f\x8b" + bytes(30)])
def test_a_broken_gzip_file_is_reported(tmp_path, broken):
    path = tmp_path / "images.gz"
    path.write_bytes(broken(gzip.compress(idx(RANDOM.integers(0, 256, (9, 28, 28))))))
    with pytest.raises(BadImages, match="is not a complete gzip file"):
        read_idx(path, 3)


def test_images_of_another_size_are_reported(tmp_path):
    write_idx_folder(tmp_path, side=27)
    with pytest.raises(BadImages, match="images of 27 x 27 pixels, uint8; they must be 28 x 28 grey bytes"):
        data_of(images(tmp_path)).splits()


def test_labels_of_another_number_are_reported(tmp_path):
    write_idx_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(29))))
    with pytest.raises(BadImages, match="30 images, but 29 labels"):
        data_of(images(tmp_path)).splits()


def test_a_hub_data_set_saved_on_disk_is_read(tmp_path):
    from datasets import ClassLabel, Dataset, DatasetDict, Features
    from datasets import Image as ImageFeature

    pictures = RANDOM.integers(0, 256, (12, 28, 28), dtype=np.uint8)
    features = Features({"image": ImageFeature(), "label": ClassLabel(10)})
    rows = {"image": [Image.fromarray(picture) for picture in pictures], "label": [*range(10), 0, 1]}
    part = Dataset.from_dict(rows, features=features)
    DatasetDict(train=part, test=part).save_to_disk(str(tmp_path / "saved"))
    test = data_of(images(tmp_path / "saved")).splits()["test"]
    order = np.lexsort(test.images.numpy().reshape(12, -1).T[::-1])
    expected = np.lexsort(pictures.reshape(12, -1).T[::-1])
    assert np.array_equal(test.images.numpy()[order], pictures[expected])
    assert test.labels.numpy()[order].tolist() == np.array(rows["label"])[expected].tolist()
    with pytest.raises(BadImages, match="has no column 'picture'; there are image, label"):
        data_of(images(tmp_path / "saved", image_column="picture")).splits()


def test_digits_are_the_resized_ones_of_scikit_learn():
    from sklearn.datasets import load_digits

    splits = data_of(digits()).splits()
    assert {split: len(part.images) for split, part in splits.items()} == {
        "train": 1297,
        "validation": 200,
        "test": 300,
    }
    everything = torch.cat([part.images for part in splits.values()])
    labels = torch.cat([part.labels for part in splits.values()])
    original = load_digits()
    assert torch.bincount(labels).tolist() == np.bincount(original.target).tolist()
    # Bilinear resizing keeps the mean of an image up to its edges.
    assert float(everything.double().mean()) == pytest.approx(original.images.mean() * 255 / 16, rel=0.02)
    means = everything.double().mean((1, 2)).sort().values.numpy()
    assert np.allclose(means, np.sort(original.images.mean((1, 2))) * 255 / 16, rtol=0.15)


@pytest.mark.parametrize(
    "changes", [{"validation_rows": 1500}, {"train_rows": 1298}, {"train_rows": 1, "reserve": 0.9}, {"test_rows": 1797}]
)
def test_more_rows_than_there_are_is_reported(changes):
    with pytest.raises(BadImages, match=r"^data\.t"):
        data_of(digits(**changes)).splits()


def test_grey_levels_keep_real_images_exactly_and_drawn_ones_nearly():
    real = torch.arange(256, dtype=torch.uint8).repeat(4)[: 28 * 28].view(1, 28, 28)
    assert torch.equal(as_grey(as_intensities(real)).byte(), real)
    drawn = torch.rand(5, 1, 28, 28)
    assert float((as_intensities(as_grey(drawn)) - drawn).abs().max()) <= 1 / 16 / 255 + 1e-7
    mixed = torch.cat([real, as_grey(drawn)])
    assert torch.equal(as_intensities(mixed[:1]), as_intensities(real))


def training_batches(epoch, held=5, drawn=4, batch_size=4):
    pictures = torch.arange(held, dtype=torch.uint8)[:, None, None].repeat(1, 28, 28)
    training = TrainingImages(pictures, torch.arange(held + drawn, dtype=torch.float32))
    order = EpochSampler(held + drawn, held + drawn, batch_size, Stream(0, 1, "order"))
    sampler = DrawingSampler(order, held, 3, Stream(0, 1, "latents"), Stream(0, 1, "noise"))
    sampler.set_epoch(epoch)
    return list(ImagesDataModule(training, pictures, sampler, 2).train_dataloader())


def test_each_row_comes_once_an_epoch_with_its_weight_and_drawn_rows_as_latents():
    batches = training_batches(0)
    assert [len(batch["weights"]) for batch in batches] == [4, 4, 1]
    assert sorted(torch.cat([batch["weights"] for batch in batches]).tolist()) == list(range(9))
    for batch in batches:
        held = len(batch["images"])
        assert batch["images"][:, 0, 0].tolist() == batch["weights"][:held].tolist()
        assert batch["latents"].shape == (len(batch["weights"]) - held, 3)
        assert (batch["weights"][held:] >= 5).all()


def test_latents_are_drawn_anew_in_each_epoch_and_again_when_an_epoch_is_repeated():
    first, again, second = (torch.cat([b["latents"] for b in training_batches(epoch)]) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
