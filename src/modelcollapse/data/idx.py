"""MNIST's idx files, plain or gzipped. Importing this module imports nothing heavy."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.errors import UserError

if TYPE_CHECKING:
    import numpy as np

UNSIGNED_BYTE = 0x08
PARTS = ("train", "test")
HEADS = {"train": "train", "test": "t10k"}
"""How the files of each part begin."""


class BadImages(UserError):
    """Images that cannot be used; the message names the file or setting and says why."""


def idx_files(folder: Path, part: str) -> tuple[Path, Path] | None:
    """The files of images and labels of a part (train, test) in the folder, or None if either is not there."""
    names = (f"{HEADS[part]}-images-idx3-ubyte", f"{HEADS[part]}-labels-idx1-ubyte")
    images, labels = (_existing(folder, name) for name in names)
    return (images, labels) if images and labels else None


def _existing(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def read_idx(path: Path, dimensions: int) -> "np.ndarray":
    """The unsigned bytes of an idx file with so many dimensions, in its own shape.

    The format: two zero bytes, the type of the numbers, the number of dimensions, the size of each dimension as
    a big-endian 32-bit integer, the numbers. Raises BadImages for anything else.
    """
    import numpy as np

    content = _content(path)
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if content[:4] != magic:
        raise BadImages(
            f"{path}: is no idx file of unsigned bytes in {dimensions} dimensions: it begins with the"
            f" bytes {content[:4].hex(' ') or '(none)'}, not {magic.hex(' ')}"
        )
    if len(content) < header:
        raise BadImages(f"{path}: ends inside its header, after {len(content)} of {header} bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    wanted = int(np.prod(shape, dtype=object))
    if len(content) - header != wanted:
        sizes = " x ".join(map(str, shape))
        raise BadImages(f"{path}: its header announces {sizes} = {wanted} bytes, but {len(content) - header} follow")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            content: bytes = file.read()
            return content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadImages(f"{path}: is not a complete gzip file ({error})") from error
