"""Text data: lines from files and from the hub, a checksum of their content, and blocks of tokens."""

import codecs
import gzip
import itertools
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelcollapse.data.hub import data_set, source_recipe, taken_in
from modelcollapse.data.settings import UNPACKED_GB, HubDataSettings, TextSettings
from modelcollapse.data.sources import (
    CHUNK,
    BadSource,
    file_bytes,
    file_digest,
    open_regular,
    reason_of,
)
from modelcollapse.regimes import reserve_rows, reserve_stream, rows_of
from modelcollapse.seeding import Stream
from modelcollapse.settings import identity_of

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

    from modelcollapse.data.blocks import Rows
    from modelcollapse.data.language import Language

SPLITS = ("train", "validation", "test")
WIKITEXT_FILES = {"train": "wiki.train.raw", "validation": "wiki.valid.raw", "test": "wiki.test.raw"}


class BadText(BadSource):
    """A text that cannot be used; the message names the file and says why."""


# ---- text of files --------------------------------------------------------------------------------------------------

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OTHER_BEGINNINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "a gzip file under another name"}
"""What a file seems to be that begins so."""
LONG_LINE = 2**20
"""Characters that a line is handed out whole with, at most; longer ones come in parts."""
PARTS_OF_A_LONG_LINE = 8
"""How many parts together are as long as LONG_LINE: tokenizers take memory for the longest text that they are given."""
LONGEST_WORD = 2**24
"""Characters between two blanks, at most."""
BLANK = re.compile(r"(?<=\S) (?=\S)")
"""Where a long line is divided: between two words."""


class Continued(str):
    """A part of a long line that is not its beginning; it begins with the blank that the line was divided at."""

    __slots__ = ()


@dataclass(frozen=True)
class TextContent:
    """The bytes of a plain or gzipped file, a part at a time."""

    unpacked_gb: float
    """Gigabytes that a gzipped file may unpack to."""
    is_normalised: bool = True
    """Whether every line ends with a line feed, and no byte-order mark is left."""

    def __call__(self, path: Path) -> Iterator[bytes]:
        """Raises BadSource where there is no file, or it is no complete gzip file."""
        content = self._unpacked(path) if path.suffix == ".gz" else file_bytes(path)
        return _normalised(content) if self.is_normalised else content

    def _unpacked(self, path: Path) -> Iterator[bytes]:
        left = self.unpacked_gb * 10**9
        try:
            with open_regular(path) as file, gzip.open(file) as packed:
                while chunk := packed.read(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise BadText(
                            f"{path}: unpacks to more than {self.unpacked_gb:g} GB; data.unpacked_gb=NUMBER allows more"
                        )
                    yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BadText(f"{path}: is not a complete gzip file ({error})") from error


def _normalised(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks with a line feed at the end of every line, and no byte-order mark."""
    held = b""
    for chunk in _without_mark(chunks):
        joined = held + chunk
        # A carriage return at the end may be the first half of a line end.
        held = b"\r" if joined.endswith(b"\r") else b""
        yield joined.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if held:
        yield b"\n"


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= len(BYTE_ORDER_MARK):
            break
    yield start.removeprefix(BYTE_ORDER_MARK)
    yield from chunks


def text_fingerprint(path: str | Path, unpacked_gb: float = UNPACKED_GB) -> str:
    """SHA-256 of a text file as it is read: with the line ends of any system, and with a byte-order mark or without.

    Of a gzipped file it is that of the file's bytes, unless what is read differs from what it unpacks to. Raises
    BadSource where there is no file, or it is no complete gzip file.
    """
    path = Path(path).expanduser()
    as_read = file_digest(path, TextContent(unpacked_gb))
    if path.suffix == ".gz" and as_read == file_digest(path, TextContent(unpacked_gb, is_normalised=False)):
        return file_digest(path)
    return as_read


def file_lines(path: str | Path, unpacked_gb: float = UNPACKED_GB) -> Iterator[str]:
    """Lines of a plain or gzipped UTF-8 file, each ended by a line feed; blank lines are empty strings.

    CR LF and CR end a line as LF does, and a byte-order mark is left out. A line of more than LONG_LINE characters
    comes in parts, of which all but the first are Continued. Raises BadText for a wrong encoding, NUL characters, words
    without an end, a gzip file that is not complete or unpacks to more than ``unpacked_gb``, or a file without text.
    """
    path = Path(path).expanduser()
    has_text = False
    for line in _lines(path, _decoded(path, TextContent(unpacked_gb)(path))):
        is_blank = not isinstance(line, Continued) and not line.strip()
        has_text = has_text or not is_blank
        yield "" if is_blank else line
    if not has_text:
        raise BadText(f"{path}: holds no text")


def _decoded(path: Path, chunks: Iterator[bytes]) -> Iterator[str]:
    decoder, number = codecs.getincrementaldecoder("utf-8")(), 1
    for chunk in itertools.chain(chunks, [b""]):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            number += error.object.count(b"\n", 0, error.start)
            kind = OTHER_BEGINNINGS.get(error.object[:2]) if number == 1 and error.start < 2 else None
            seems = f"; it seems to be {kind}" if kind else ""
            raise BadText(f"{path}: is not UTF-8 text: {error.reason} in line {number}{seems}") from error
        if "\0" in text:
            number += text.count("\n", 0, text.index("\0"))
            raise BadText(f"{path}: line {number} holds a NUL character; it is not a text file")
        number += text.count("\n")
        yield text


def _lines(path: Path, texts: Iterator[str]) -> Iterator[str]:
    """The lines, and long ones in parts: they are never in memory whole."""
    rest, number, kind = "", 1, str
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            *parts, last = _divided(line, kind, f"{path}: line {number}")
            for part in (*parts, f"{last}\n"):
                yield kind(part)
                kind = Continued
            number, kind = number + 1, str
        *parts, rest = _divided(rest, kind, f"{path}: line {number}")
        for part in parts:
            yield kind(part)
            kind = Continued
    if rest:
        yield kind(rest)


def _divided(line: str, kind: type[str], place: str) -> list[str]:
    """Parts of a line, each divided from the next at a blank, the last of which may be continued.

    A line is divided where it is long, and then, as is one that is Continued, into parts that are not.
    """
    parts: list[str] = []
    while len(line) > (LONG_LINE if kind is str and not parts else LONG_LINE // PARTS_OF_A_LONG_LINE):
        if (end := _last_blank(line)) is None:
            if len(line) <= LONGEST_WORD:
                break
            raise BadText(f"{place} goes on for {LONGEST_WORD} characters without a blank between words")
        parts.append(line[:end])
        line = line[end:]
    return [*parts, line]


def _last_blank(line: str) -> int | None:
    """Where a long line is divided: at the last blank among the first characters of a part, or else the first one."""
    longest = LONG_LINE // PARTS_OF_A_LONG_LINE
    end = line.rfind(" ", 1, longest)
    while end > 0 and (line[end - 1].isspace() or line[end + 1].isspace()):
        end = line.rfind(" ", 1, end)
    if end > 0:
        return end
    found = BLANK.search(line, longest)
    return found.start() if found else None


# ---- data of language models ----------------------------------------------------------------------------------------


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
    def write(self, tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
        """Write blocks int32 [blocks, length] of train, validation, test and, where blocks are set aside, reserve.

        ``write_blocks`` writes them, beside them ``bytes_per_token`` [vocabulary]. Raises BadText where they cannot be
        read or are too few.
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

    def write(self, tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
        """The splits' lines tokenised, joined and cut, as they are read; the last training blocks are the reserve.

        Where a token does not have the same bytes wherever it stands, the bytes of the tokens of validation and test
        are written as well, as ``validation_bytes`` and ``test_bytes`` [blocks, length].
        """
        from modelcollapse.data.blocks import write_blocks
        from modelcollapse.data.tokenizers import bytes_per_token, has_fixed_bytes

        if self.settings.line_start_token and tokenizer.bos_token_id is None:
            raise BadText("data.line_start_token: is true, but the tokenizer has no start token; set it to false")
        is_fixed = has_fixed_bytes(tokenizer)
        found: dict[str, Any] = {"bytes_per_token": bytes_per_token(tokenizer)} if is_fixed else {}
        for split in SPLITS:
            blocks, lengths = self._blocks(split, tokenizer, folder, count_bytes=split != "train" and not is_fixed)
            found[split] = blocks
            if lengths is not None:
                found[f"{split}_bytes"] = lengths
        found["train"], reserve = self._without_reserve(found["train"])
        write_blocks(folder, **found, **({"reserve": reserve} if len(reserve) else {}))

    def _without_reserve(self, blocks: "Rows") -> "tuple[Rows, Rows]":
        share = self.settings.reserve
        reserved = rows_of(share, len(blocks))
        if reserved == len(blocks):
            raise BadText(
                f"data.reserve: {share:g} sets aside all {reserved} blocks of the training split, and leaves"
                " none to train on; it must be less"
            )
        return blocks.part(0, len(blocks) - reserved), blocks.part(len(blocks) - reserved, len(blocks))

    def _blocks(
        self, split: str, tokenizer: "PreTrainedTokenizerBase", folder: Path, count_bytes: bool
    ) -> "tuple[Rows, Rows | None]":
        """Blocks of a split, and the bytes of their tokens where they are asked for."""
        from modelcollapse.data.blocks import cut, tokenise

        data, lines = self.settings, self.lines(split)
        most = data.train_blocks if split == "train" else data.evaluation_blocks
        tokens = tokenise(lines, tokenizer, data.line_start_token, count_bytes)
        blocks, lengths = cut(tokens, folder, data.block_length, most)
        # What is not needed is read too: bad text is refused wherever it is.
        for _ in lines:
            pass
        if len(blocks) == 0:
            raise BadText(
                f"{self.origin(split)}: the {split} split holds {blocks.numbers} tokens, fewer than one block of"
                f" data.block_length={data.block_length}"
            )
        return blocks, lengths if count_bytes else None

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
        return file_lines(self._file(split), self.settings.unpacked_gb)

    def source(self) -> Mapping[str, Any]:
        """The contents of the files."""
        return {"files": {split: text_fingerprint(self._file(split), self.settings.unpacked_gb) for split in SPLITS}}

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
        if file is None:
            return _hub_lines(self.settings, getattr(self.settings, split))
        return file_lines(file, self.settings.unpacked_gb)

    def source(self) -> Mapping[str, Any]:
        """Raw files and local folders by content, the hub by id and commit."""
        data, files = self.settings, {split: self._raw_file(split) for split in SPLITS}
        if all(files.values()):
            return {"files": {split: text_fingerprint(file) for split, file in files.items() if file}}
        return {
            **source_recipe(data.path, data.revision, "data.path"),
            "configuration": data.configuration,
            "column": data.column,
            "splits": [data.train, data.validation, data.test],
        }

    def origin(self, split: str) -> str:
        """The raw file, or the data set."""
        return str(self._raw_file(split) or f"data.path={self.settings.path}")

    def _raw_file(self, split: str) -> Path | None:
        folder = Path(self.settings.path).expanduser()
        raw = [folder / name for name in WIKITEXT_FILES.values()]
        return folder / WIKITEXT_FILES[split] if all(file.is_file() for file in raw) else None


def _hub_lines(data: HubDataSettings, split: str) -> Iterator[str]:
    with _rows(data, split) as rows:
        if data.column not in rows.column_names:
            raise BadText(f"{data.path}: has no column {data.column!r}; there are {', '.join(rows.column_names)}")
        for number, text in enumerate(rows[data.column], start=1):
            if not isinstance(text, str):
                kind = "nothing" if text is None else f"{type(text).__name__}, not text"
                raise BadText(
                    f"{data.path}: column {data.column!r} holds {kind} in row {number} of split {split!r}; every row"
                    " must hold a text"
                )
            yield text if text.strip() else ""


@contextmanager
def _rows(data: HubDataSettings, split: str) -> Iterator[Any]:
    with taken_in(data.path, data.revision, "data.path", "dataset", data.configuration) as folder, ExitStack() as stack:
        try:
            rows = stack.enter_context(data_set(folder, data.configuration, split))
        except Exception as error:
            # The library raises errors of all kinds for what files hold.
            raise BadText(
                f"data.path={data.path}: the split {split!r} could not be loaded"
                f" ({reason_of(error.__cause__ or error)}); without a"
                " network, name a local folder with data.path=FOLDER, or your own files with data=text_files"
            ) from error
        yield rows
