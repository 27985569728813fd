"""MNIST's idx files, plain or gzipped. Importing this module imports nothing heavy."""

import gzip
import math
import os
import struct
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from modelcollapse.data.settings import UNPACKED_GB
from modelcollapse.data.sources import CHUNK, BadSource, open_regular

if TYPE_CHECKING:
    import numpy as np

UNSIGNED_BYTE = 0x08
PARTS = ("train", "test")
HEADS = {"train": "train", "test": "t10k"}
"""How the files of each part begin."""


class BadImages(BadSource):
    """Images that cannot be used; the message names the file or setting and says why."""


def idx_files(folder: Path, part: str) -> tuple[Path, Path] | None:
    """The files of images and labels of a part (train, test), or None if either is not there.

    They are in the folder, or in the one folder below it that holds idx files, at most DEPTH levels down. Raises
    BadImages where several folders do.
    """
    places = [folder]
    for _ in range(DEPTH + 1):
        found = {place: files for place in places if (files := _idx_files(place))}
        if len(found) > 1:
            raise BadImages(f"{folder}: {' and '.join(map(str, found))} hold idx files; name one of them")
        if found:
            return next(iter(found.values())).get(part)
        places = [below for place in places for below in _folders(place)]
    return None


DEPTH = 2
"""Levels below a folder at which its idx files may lie, as in MNIST/raw."""
SUBFOLDERS = 100
"""Folders that a folder of images holds at most: more are another folder than was meant."""


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        found = [entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    return [Path(path) for path in sorted(found)] if len(found) <= SUBFOLDERS else []


def _idx_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    found = {}
    for part, head in HEADS.items():
        images, labels = (_existing(folder, head, kind) for kind in ("images-idx3", "labels-idx1"))
        if images and labels:
            found[part] = (images, labels)
    return found


def _existing(folder: Path, head: str, kind: str) -> Path | None:
    """The file under one of the names that it goes by: train-images-idx3-ubyte, train-images.idx3-ubyte, gzipped."""
    names = (f"{head}-{kind}-ubyte", f"{head}-{kind.replace('-', '.')}-ubyte")
    candidates = (folder / f"{name}{ending}" for name in names for ending in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def read_idx(path: Path, dimensions: int, unpacked_gb: float = UNPACKED_GB) -> "np.ndarray":
    """The unsigned bytes of an idx file with so many dimensions, in its own shape.

    The format: two zero bytes, the type of the numbers, the number of dimensions, the size of each dimension as
    a big-endian 32-bit integer, the numbers. Raises BadImages for anything else, and for more than ``unpacked_gb``.
    """
    import numpy as np

    try:
        with open_regular(path) as file, gzip.open(file) if path.suffix == ".gz" else nullcontext(file) as content:
            shape = _shape(path, content.read(4 + 4 * dimensions), dimensions)
            wanted = math.prod(shape)
            if wanted > unpacked_gb * 10**9:
                raise BadImages(f"{path}: is larger than {unpacked_gb:g} GB; data.unpacked_gb=NUMBER allows more")
            numbers = bytearray()
            while len(numbers) <= wanted and (chunk := content.read(CHUNK)):
                numbers += chunk
            is_whole = not content.read(1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadImages(f"{path}: is not a complete gzip file ({error})") from error
    if len(numbers) != wanted:
        sizes, more = " x ".join(map(str, shape)), "" if is_whole else " or more"
        raise BadImages(f"{path}: its header announces {sizes} = {wanted} bytes, but {len(numbers)}{more} follow")
    return np.frombuffer(numbers, dtype=np.uint8).reshape(shape)


def _shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    magic = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if header[:4] != magic:
        raise BadImages(
            f"{path}: is no idx file of unsigned bytes in {dimensions} dimensions: it begins with the"
            f" bytes {header[:4].hex(' ') or '(none)'}, not {magic.hex(' ')}"
        )
    if len(header) < 4 + 4 * dimensions:
        raise BadImages(f"{path}: ends inside its header, after {len(header)} of {4 + 4 * dimensions} bytes")
    return struct.unpack(f">{dimensions}I", header[4:])
