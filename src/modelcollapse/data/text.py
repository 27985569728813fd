"""Text from files and from the hub, line by line, and a name for its content."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.errors import UserError

if TYPE_CHECKING:
    from modelcollapse.data.settings import HubDataSettings, TextFilesDataSettings

SPLITS = ("train", "validation", "test")
WIKITEXT_FILES = {"train": "wiki.train.raw", "validation": "wiki.valid.raw", "test": "wiki.test.raw"}


class BadText(UserError):
    """A text that cannot be used; the message names the file and says why."""


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a file's bytes, or of the names and bytes of all files in a folder.

    Raises BadText if there is nothing at the path.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listing = [f"{file.relative_to(path)} {fingerprint(file)}" for file in files]
        return hashlib.sha256("\n".join(listing).encode()).hexdigest()
    if not path.is_file():
        raise BadText(f"{path}: there is no such file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_lines(path: str | Path) -> Iterator[str]:
    """Lines of a plain or gzipped UTF-8 file with their line ends; blank lines are empty strings.

    Raises BadText for a wrong encoding, NUL characters, a truncated gzip file, or a file without text.
    """
    path = Path(path).expanduser()
    opened: Any = gzip.open if path.suffix == ".gz" else open
    has_text = False
    try:
        with opened(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    raise BadText(f"{path}: line {number} holds a NUL character; it is not a text file")
                has_text = has_text or bool(line.strip())
                yield line if line.strip() else ""
    except UnicodeDecodeError as error:
        raise BadText(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start} of a chunk)") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadText(f"{path}: is not a complete gzip file ({error})") from error
    if not has_text:
        raise BadText(f"{path}: holds no text")


def split_file(data: "TextFilesDataSettings | HubDataSettings", split: str) -> Path | None:
    """The local text file of a split, or None where the split comes from a data set."""
    if data.kind == "text_files":
        return Path(getattr(data, split)).expanduser()
    raw = Path(data.path).expanduser() / WIKITEXT_FILES[split]
    return raw if raw.is_file() else None


def split_name(data: "TextFilesDataSettings | HubDataSettings", split: str) -> str:
    """Where a split comes from, for people."""
    file = split_file(data, split)
    return str(file) if file is not None else f"data.path={data.path}" if data.kind == "hub" else split


def source_recipe(data: "TextFilesDataSettings | HubDataSettings") -> dict[str, Any]:
    """What the text is, by content for local files and by id and commit for the hub."""
    files = {split: split_file(data, split) for split in SPLITS}
    if all(files.values()):
        return {"files": {split: fingerprint(file) for split, file in files.items() if file}}
    if data.kind == "hub" and Path(data.path).expanduser().is_dir():
        return {"folder": fingerprint(data.path), **_columns(data)}
    assert data.kind == "hub"
    return {"hub": data.path, "revision": data.revision, **_columns(data)}


def _columns(data: "HubDataSettings") -> dict[str, Any]:
    return {
        "configuration": data.configuration,
        "column": data.column,
        "splits": [data.train, data.validation, data.test],
    }


def split_lines(data: "TextFilesDataSettings | HubDataSettings", split: str) -> Iterator[str]:
    """The lines (or rows) of a split of the real data. Raises BadText where they cannot be read."""
    file = split_file(data, split)
    if file is not None:
        return file_lines(file)
    assert data.kind == "hub"
    return _hub_lines(data, getattr(data, split))


def _hub_lines(data: "HubDataSettings", split: str) -> Iterator[str]:
    rows = _load_split(data, split)
    if data.column not in rows.column_names:
        raise BadText(f"{data.path}: has no column {data.column!r}; there are {', '.join(rows.column_names)}")
    for text in rows[data.column]:
        if not isinstance(text, str):
            raise BadText(f"{data.path}: column {data.column!r} holds {type(text).__name__}, not text")
        yield text if text.strip() else ""


def _load_split(data: "HubDataSettings", split: str) -> Any:
    import datasets

    folder = Path(data.path).expanduser()
    try:
        if (folder / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(folder))[split]
        return datasets.load_dataset(
            str(folder) if folder.is_dir() else data.path,
            data.configuration,
            revision=data.revision,
            split=split,
        )
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadText(
            f"data.path={data.path}: the split {split!r} could not be loaded ({reason}); without a network, name a"
            " local folder with data.path=FOLDER, or your own files with data=text_files"
        ) from error
