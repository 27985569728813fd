"""Text data: lines from files and from the hub, a checksum of their content, and blocks of tokens."""

import gzip
import hashlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.data.settings import HubDataSettings, TextSettings
from modelcollapse.errors import UserError
from modelcollapse.regimes import reserve_rows, reserve_stream, rows_of
from modelcollapse.seeding import Stream
from modelcollapse.settings import identity_of

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

    from modelcollapse.data.language import Language

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


class TokenSource(ABC):
    """Base class of data for language models, constructed with their settings."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @abstractmethod
    def recipe(self) -> Mapping[str, Any]:
        """Identity of the blocks as JSON, for the key of the real data; the tokenizer has a key of its own."""

    def vocabulary_recipe(self) -> Mapping[str, Any]:
        """Identity of the tokenizer as JSON, for data with a vocabulary of their own."""
        return self.recipe()

    @abstractmethod
    def own_tokenizer(self) -> "PreTrainedTokenizerBase | None":
        """The tokenizer of data that bring their own vocabulary."""

    @abstractmethod
    def splits(self, tokenizer: "PreTrainedTokenizerBase") -> dict[str, "np.ndarray"]:
        """Blocks int32 [blocks, length] of train, validation, test and, where blocks are set aside, reserve.

        Raises BadText where they cannot be read or are too few.
        """

    @abstractmethod
    def fresh_stream(self, seed: int, generation: int) -> Stream:
        """What the real blocks of a generation that were never seen before are drawn with."""

    @abstractmethod
    def fresh_blocks(self, rows: int, generation: int, reserve: "np.ndarray", stream: Stream) -> "np.ndarray":
        """Real blocks that no other generation of the chain sees, int32 [rows, length].

        ``reserve`` are the blocks that were set aside, none where nothing was. Raises DrawError where they are too few.
        """

    def truth(self) -> "Language | None":
        """The language that the data were drawn from, where it is known."""
        return None


class Text(TokenSource):
    """Base class of data of the form ``text``: subclasses give the lines of each split."""

    @abstractmethod
    def lines(self, split: str) -> Iterator[str]:
        """The lines of the split train, validation or test; blank ones are empty. Raises BadText for bad ones."""

    def source(self) -> Mapping[str, Any]:
        """Identity of the text as JSON, for the key of the real data: files by their content.

        By default the settings.
        """
        common = {field.name for field in fields(TextSettings)} - {"kind"}
        return {name: value for name, value in identity_of(self.settings).items() if name not in common}

    def origin(self, split: str) -> str:
        """Where a split comes from, for people."""
        return f"data.kind={self.settings.kind}"

    def recipe(self) -> Mapping[str, Any]:
        """The text, and how it becomes blocks."""
        shaping = ("line_start_token", "train_blocks", "evaluation_blocks", "reserve")
        return {"source": self.source(), **{name: getattr(self.settings, name) for name in shaping}}

    def own_tokenizer(self) -> None:
        """Text is tokenised as the model says."""

    def splits(self, tokenizer: "PreTrainedTokenizerBase") -> dict[str, "np.ndarray"]:
        """The splits' lines tokenised, joined and cut; the last training blocks are the reserve."""
        data = self.settings
        if data.line_start_token and tokenizer.bos_token_id is None:
            raise BadText("data.line_start_token: is true, but the tokenizer has no start token; set it to false")
        splits = {split: self._blocks(split, tokenizer) for split in SPLITS}
        reserved = rows_of(data.reserve, len(splits["train"]))
        if reserved == len(splits["train"]):
            raise BadText(
                f"data.reserve: {data.reserve:g} sets aside all {reserved} blocks of the training split, and leaves"
                " none to train on; it must be less"
            )
        if reserved:
            splits["reserve"], splits["train"] = splits["train"][-reserved:], splits["train"][:-reserved]
        return splits

    def _blocks(self, split: str, tokenizer: "PreTrainedTokenizerBase") -> "np.ndarray":
        from modelcollapse.data.blocks import into_blocks, tokenise

        data = self.settings
        tokens = tokenise(self.lines(split), tokenizer, data.line_start_token)
        blocks = into_blocks(
            tokens, data.block_length, data.train_blocks if split == "train" else data.evaluation_blocks
        )
        if len(blocks) == 0:
            raise BadText(
                f"{self.origin(split)}: the {split} split holds {len(tokens)} tokens, fewer than one block of"
                f" data.block_length={data.block_length}"
            )
        return blocks

    def fresh_stream(self, seed: int, generation: int) -> Stream:
        """One shuffle of the reserve for all generations."""
        return reserve_stream(seed)

    def fresh_blocks(self, rows: int, generation: int, reserve: "np.ndarray", stream: Stream) -> "np.ndarray":
        """The next rows of the shuffled reserve."""
        chosen: np.ndarray = reserve[reserve_rows(len(reserve), generation, rows, stream)]
        return chosen


class TextFiles(Text):
    """Plain or gzipped text files, one a split."""

    def lines(self, split: str) -> Iterator[str]:
        """The lines of the split's file."""
        return file_lines(self._file(split))

    def source(self) -> Mapping[str, Any]:
        """The contents of the files."""
        return {"files": {split: fingerprint(self._file(split)) for split in SPLITS}}

    def origin(self, split: str) -> str:
        """The file."""
        return str(self._file(split))

    def _file(self, split: str) -> Path:
        return Path(getattr(self.settings, split)).expanduser()


class HubText(Text):
    """A text data set of the Hugging Face hub, a local copy of one, or a folder of WikiText's raw files."""

    def lines(self, split: str) -> Iterator[str]:
        """The lines of WikiText's raw file, or the rows of the column."""
        file = self._raw_file(split)
        return _hub_lines(self.settings, getattr(self.settings, split)) if file is None else file_lines(file)

    def source(self) -> Mapping[str, Any]:
        """Raw files and local folders by content, the hub by id and commit."""
        data, files = self.settings, {split: self._raw_file(split) for split in SPLITS}
        if all(files.values()):
            return {"files": {split: fingerprint(file) for split, file in files.items() if file}}
        columns = {
            "configuration": data.configuration,
            "column": data.column,
            "splits": [data.train, data.validation, data.test],
        }
        if Path(data.path).expanduser().is_dir():
            return {"folder": fingerprint(data.path), **columns}
        return {"hub": data.path, "revision": data.revision, **columns}

    def origin(self, split: str) -> str:
        """The raw file, or the data set."""
        return str(self._raw_file(split) or f"data.path={self.settings.path}")

    def _raw_file(self, split: str) -> Path | None:
        raw = Path(self.settings.path).expanduser() / WIKITEXT_FILES[split]
        return raw if raw.is_file() else None


def _hub_lines(data: HubDataSettings, split: str) -> Iterator[str]:
    rows = _load_split(data, split)
    if data.column not in rows.column_names:
        raise BadText(f"{data.path}: has no column {data.column!r}; there are {', '.join(rows.column_names)}")
    for text in rows[data.column]:
        if not isinstance(text, str):
            raise BadText(f"{data.path}: column {data.column!r} holds {type(text).__name__}, not text")
        yield text if text.strip() else ""


def _load_split(data: HubDataSettings, split: str) -> Any:
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
