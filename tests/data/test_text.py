"""Text from files and data sets: read line by line, named by content, and refused in one sentence where it is bad."""

import gzip
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from modelcollapse.data import data_of, sources, text
from modelcollapse.data.settings import HubDataSettings, TextFilesDataSettings
from modelcollapse.data.sources import BadSource, fingerprint
from modelcollapse.data.text import BadText, TextFiles, file_lines, text_fingerprint
from modelcollapse.errors import UserError

TEXT = " = Heading = \n\n The first line. \n \t \nGrüße 🙂\nlast without end"
LINES = [" = Heading = \n", "", " The first line. \n", "", "Grüße 🙂\n", "last without end"]


def hub(path, **changed):
    values = {
        "kind": "hub",
        "name": "test",
        "path": str(path),
        "configuration": None,
        "revision": None,
        "column": "text",
        "train": "train",
        "validation": "validation",
        "test": "test",
        "block_length": 8,
        "line_start_token": True,
        "train_blocks": None,
        "evaluation_blocks": None,
        "reserve": 0.0,
    }
    return HubDataSettings(**{**values, **changed})


def text_files(folder):
    files = {split: str(folder / f"{split}.txt") for split in ("train", "validation", "test")}
    return TextFilesDataSettings(
        kind="text_files",
        name="test",
        **files,
        block_length=8,
        line_start_token=True,
        train_blocks=None,
        evaluation_blocks=None,
        reserve=0.0,
    )


@pytest.fixture
def table():
    """Rows of three splits, as a data set."""
    from datasets import Dataset, DatasetDict

    def rows(name):
        return Dataset.from_dict({"text": [f"{name} one", "", "  ", f"{name} two"], "number": [1, 2, 3, 4]})

    return DatasetDict({split: rows(split) for split in ("train", "validation", "test")})


# ---- files ----------------------------------------------------------------------------------------------------------


def test_lines_keep_their_ends_and_blank_ones_are_empty(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode())
    assert list(file_lines(path)) == LINES


def test_a_gzipped_file_is_the_same_text(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert list(file_lines(path)) == LINES


def test_only_line_feeds_and_carriage_returns_end_a_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\x0btwo\u2028three\x85four\r\nfive\rsix\n".encode())
    assert list(file_lines(path)) == ["one\x0btwo\u2028three\x85four\n", "five\n", "six\n"]


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 2**20])
@pytest.mark.parametrize(
    ("line_end", "mark"), [(b"\r\n", b""), (b"\r", b""), (b"\n", b"\xef\xbb\xbf"), (b"\r\n", b"\xef\xbb\xbf")]
)
def test_line_ends_of_all_systems_and_a_byte_order_mark_are_one_text(
    tmp_path, monkeypatch, ending, at_once, line_end, mark
):
    monkeypatch.setattr(sources, "CHUNK", at_once)
    monkeypatch.setattr(text, "CHUNK", at_once)
    packed = gzip.compress if ending else bytes
    plain, other = tmp_path / f"plain.txt{ending}", tmp_path / f"other.txt{ending}"
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    plain.write_bytes(packed(TEXT.encode()))
    other.write_bytes(packed(mark + TEXT.encode().replace(b"\n", line_end)))
    assert list(file_lines(other)) == list(file_lines(plain)) == LINES
    # What is read is what is named: the other file by the text that it stands for, the plain one by its bytes.
    assert text_fingerprint(other) == fingerprint(tmp_path / "text.txt")
    assert text_fingerprint(plain) == fingerprint(plain)


def test_a_carriage_return_at_the_end_ends_the_last_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\n\r\rtwo\r")
    assert list(file_lines(tmp_path / "a.txt")) == ["one\n", "", "", "two\n"]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_bad_text_is_found_by_its_line(tmp_path, ending):
    path = tmp_path / f"a.txt{ending}"
    content = b"fine\r\n" * 300_000 + "Gr\u00fc\u00dfe".encode("latin-1") + b"\nmore\n"
    path.write_bytes(gzip.compress(content) if ending else content)
    with pytest.raises(BadText, match=r"is not UTF-8 text: invalid start byte in line 300001$"):
        list(file_lines(path))
    content = content.replace(b"\xfc\xdf", b"\0")
    path.write_bytes(gzip.compress(content) if ending else content)
    with pytest.raises(BadText, match="line 300001 holds a NUL character"):
        list(file_lines(path))


def test_a_letter_that_is_cut_off_at_the_end_is_found(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\ntw\u00f6".encode()[:-1])
    with pytest.raises(BadText, match="unexpected end of data in line 2"):
        list(file_lines(tmp_path / "a.txt"))


def test_a_gzip_bomb_is_refused_by_its_size_which_can_be_allowed(tmp_path):
    path = tmp_path / "bomb.txt.gz"
    path.write_bytes(gzip.compress(b"word\n" * 10**5))
    for read in (lambda limit: list(file_lines(path, limit)), lambda limit: text_fingerprint(path, limit)):
        with pytest.raises(BadText, match=r"unpacks to more than 0.0004 GB; data.unpacked_gb=NUMBER allows more"):
            read(0.0004)
        assert read(0.0005)


def test_words_without_an_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LONG_LINE", 1000)
    monkeypatch.setattr(text, "LONGEST_WORD", 10_000)
    (tmp_path / "a.txt").write_text("fine\n" + "ACGT" * 10_000, encoding="utf-8")
    with pytest.raises(BadText, match="line 2 goes on for 10000 characters without a blank between words"):
        list(file_lines(tmp_path / "a.txt"))


@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device", "Is a directory"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "Is a directory":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    for read in (fingerprint, text_fingerprint, lambda path: list(file_lines(path))):
        if kind != "Is a directory" or read is not fingerprint:
            with pytest.raises(BadSource, match=f"{path}: .*({kind}|cannot be read)"):
                read(path)


def truncated(content):
    return gzip.compress(content * 5000)[:-20]


BAD = {
    "empty.txt": (b"", "holds no text"),
    "blank.txt": (b"\n \n\t\n", "holds no text"),
    "nul.txt": (b"fine\nnot \0 fine\n", "line 2 holds a NUL character"),
    "latin.txt": ("Grüße\n".encode("latin-1"), "is not UTF-8 text"),
    "utf16.txt": ("text\n".encode("utf-16"), "is not UTF-8 text"),
    "late-latin.txt": (b"fine\n" * 100_000 + b"\xe4\n", "is not UTF-8 text"),
    "cut.txt.gz": (truncated(b"some line of text\n"), "is not a complete gzip file"),
    "plain.txt.gz": (b"no gzip at all\n", "is not a complete gzip file"),
    "empty.txt.gz": (gzip.compress(b""), "holds no text"),
    "corrupt.txt.gz": (gzip.compress(bytes(range(256)) * 90)[:50] + b"x" * 50, "is not"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_text_is_refused_in_one_sentence_that_names_the_file(tmp_path, name):
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadText) as caught:
        list(file_lines(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*BAD, "missing.txt", "a-folder"])
def test_a_command_on_bad_text_says_one_thing(train, small_opt_words, tmp_path, name):
    if name in BAD:
        (tmp_path / name).write_bytes(BAD[name][0])
    if name == "a-folder":
        (tmp_path / name).mkdir()
    finished = train(*small_opt_words, f"data.validation={tmp_path / name}", "generations=0", "plan=false")
    assert finished.code == 2
    assert finished.err.startswith("error: ")
    assert str(tmp_path / name) in finished.err
    assert len(finished.err.strip().splitlines()) == 1


def test_text_too_short_for_a_block_is_reported(train, small_opt_words, tmp_path):
    (tmp_path / "short.txt").write_text("two words\n")
    words = [*small_opt_words, f"data.test={tmp_path / 'short.txt'}", "generations=0"]
    finished = train(*words, "data.block_length=40")
    assert finished.code == 2
    assert "the test split holds" in finished.err
    assert "fewer than one block of data.block_length=40" in finished.err


def test_a_base_text_too_short_for_a_base_is_reported(train, small_opt_words, tmp_path):
    (tmp_path / "short.txt").write_text("a few words only, not enough\n")
    finished = train(*small_opt_words, f"model.base.text={tmp_path / 'short.txt'}", "data.block_length=64")
    assert finished.code == 2
    assert str(tmp_path / "short.txt") in finished.err
    assert "too few to pretrain a base" in finished.err


# ---- names of content -----------------------------------------------------------------------------------------------


def test_a_fingerprint_is_of_the_content_and_not_of_the_place(tmp_path):
    one, other = tmp_path / "a.txt", tmp_path / "b" / "c.txt"
    other.parent.mkdir()
    one.write_text(TEXT)
    other.write_text(TEXT)
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(str(one)) == fingerprint(one)
    other.write_text(TEXT + " ")
    assert fingerprint(one) != fingerprint(other)


def test_the_fingerprint_of_a_folder_is_of_names_and_contents(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "sub").mkdir(parents=True)
    (first / "sub" / "a").write_text("1")
    (first / "b").write_text("2")
    shutil.copytree(first, second)
    assert fingerprint(first) == fingerprint(second)
    (second / "b").rename(second / "c")
    assert fingerprint(first) != fingerprint(second)


def test_a_path_with_nothing_there_has_no_fingerprint(tmp_path):
    with pytest.raises(BadSource, match="there is no such file"):
        fingerprint(tmp_path / "missing")


def test_files_of_wikitext_are_the_same_source_as_the_same_files_under_other_names(tmp_path):
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        for path in (tmp_path / f"wiki.{name}.raw", tmp_path / f"{split}.txt"):
            path.write_text(f"{split} {TEXT}")
    assert data_of(hub(tmp_path)).source() == data_of(text_files(tmp_path)).source()
    assert list(data_of(hub(tmp_path)).lines("validation")) == list(data_of(text_files(tmp_path)).lines("validation"))


def test_a_data_set_of_the_hub_is_named_by_id_and_commit_and_columns():
    recipe = data_of(hub("Salesforce/wikitext", revision="a" * 40, configuration="wikitext-2-raw-v1")).source()
    assert recipe["hub"] == "Salesforce/wikitext"
    assert recipe["revision"] == "a" * 40
    assert recipe != data_of(hub("Salesforce/wikitext", revision="b" * 40, configuration="wikitext-2-raw-v1")).source()
    assert (
        recipe
        != data_of(
            hub("Salesforce/wikitext", revision="a" * 40, configuration="wikitext-2-raw-v1", column="title")
        ).source()
    )


# ---- data sets ------------------------------------------------------------------------------------------------------


def test_a_saved_data_set_is_read_row_by_row(table, tmp_path):
    table.save_to_disk(tmp_path / "saved")
    for split in ("train", "validation", "test"):
        assert list(data_of(hub(tmp_path / "saved")).lines(split)) == [f"{split} one", "", "", f"{split} two"]
    assert "folder" in data_of(hub(tmp_path / "saved")).source()


def test_a_folder_as_the_hub_has_it_is_read_row_by_row(table, tmp_path):
    for split, rows in table.items():
        (tmp_path / "data").mkdir(exist_ok=True)
        rows.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    for split in ("train", "validation", "test"):
        assert list(data_of(hub(tmp_path)).lines(split)) == [f"{split} one", "", "", f"{split} two"]


def test_another_column_and_other_names_of_splits(table, tmp_path):
    from datasets import DatasetDict

    renamed = DatasetDict(
        {"learn": table["train"].rename_column("text", "body"), "rest": table["test"].rename_column("text", "body")}
    )
    renamed.save_to_disk(tmp_path / "saved")
    data = hub(tmp_path / "saved", column="body", train="learn", validation="rest", test="rest")
    assert next(data_of(data).lines("train")) == "train one"
    assert next(data_of(data).lines("validation")) == "test one"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"column": "body"}, "has no column 'body'; there are text, number"),
        ({"column": "number"}, "column 'number' holds int, not text in row 1 of split 'train'"),
        ({"train": "learn"}, "the split 'learn' could not be loaded"),
    ],
)
def test_what_a_data_set_does_not_have_is_reported(table, tmp_path, changed, reason):
    table.save_to_disk(tmp_path / "saved")
    with pytest.raises(BadText, match=reason):
        list(data_of(hub(tmp_path / "saved", **changed)).lines("train"))


def test_an_unavailable_data_set_is_reported_with_advice(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadSource, match=r"data\.path=FOLDER") as caught:
        list(data_of(hub(tmp_path / "nowhere" / "at-all")).lines("train"))
    assert "\n" not in str(caught.value)


def test_rows_without_a_text_are_named(tmp_path):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.csv").write_text("text,number\none,1\n,2\nthree,3\n", "utf-8")
    with pytest.raises(BadText, match="column 'text' holds nothing in row 2 of split 'train'; every row must hold"):
        list(data_of(hub(tmp_path)).lines("train"))


def json_lines(folder, text):
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps({"text": text}) + "\n", "utf-8")


def test_a_file_that_changed_within_its_time_and_size_is_read_anew(tmp_path, monkeypatch):
    """The library would serve what its cache holds."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = data_of(hub(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    json_lines(tmp_path / "data", "one")
    times = {path: path.stat() for path in (tmp_path / "data").iterdir()}
    source = data.source()
    assert list(data.lines("train")) == ["one"]
    json_lines(tmp_path / "data", "two")
    for path, status in times.items():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(data.lines("train")) == ["two"]
    assert data.source() != source
    assert not (tmp_path / "cache").exists()


README = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: {place}
---
"""
OUTSIDE = {
    "above": lambda folder: "../outside.jsonl",
    "absolute": lambda folder: f"{folder.parent}/outside.jsonl",
    "a pattern": lambda folder: "../*.jsonl",
    "by the root": lambda folder: f"file://{folder.parent}/outside.jsonl",
    "hidden": lambda folder: ".hidden/outside.jsonl",
    "elsewhere": lambda folder: "hf://datasets/owner/name/outside.jsonl",
    "a server": lambda folder: "http://127.0.0.1:9/outside.jsonl",
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_files_outside_a_data_set_are_not_read(tmp_path, name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = tmp_path / "data"
    (folder / ".hidden").mkdir(parents=True)
    for place in (tmp_path, folder / ".hidden"):
        (place / "outside.jsonl").write_text('{"text": "secret"}\n', "utf-8")
    (folder / "README.md").write_text(README.format(place=OUTSIDE[name](folder)), "utf-8")
    with pytest.raises(BadText, match="the split 'train' could not be loaded"):
        list(data_of(hub(folder)).lines("train"))


def test_files_that_a_data_set_names_inside_are_read(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "inside.jsonl").write_text('{"text": "fine"}\n', "utf-8")
    (tmp_path / "README.md").write_text(README.format(place="deep/inside.jsonl"), "utf-8")
    assert list(data_of(hub(tmp_path)).lines("train")) == ["fine"]


def test_a_saved_data_set_that_names_files_elsewhere_is_not_read(table, tmp_path):
    table.save_to_disk(tmp_path / "other")
    table.save_to_disk(tmp_path / "saved")
    state = tmp_path / "saved" / "train" / "state.json"
    (file,) = (tmp_path / "other" / "train").glob("*.arrow")
    state.write_text(
        json.dumps({**json.loads(state.read_text("utf-8")), "_data_files": [{"filename": str(file)}]}), "utf-8"
    )
    with pytest.raises(BadText, match="which does not lie in its folder"):
        list(data_of(hub(tmp_path / "saved")).lines("train"))


# ---- what is loaded is what was fingerprinted -----------------------------------------------------------------------


def test_a_text_that_changes_before_it_is_tokenised_is_not_stored_under_the_name_of_the_other(
    chain, small_opt_words, texts, tmp_path, monkeypatch
):
    folder = shutil.copytree(texts, tmp_path / "texts")
    words = [word.replace(str(texts), str(folder)) for word in small_opt_words] + ["generations=0"]
    write, store = TextFiles.write, tmp_path / "store"

    def changed_first(self, tokenizer, place):
        (folder / "train.txt").write_text((texts / "train.txt").read_text("utf-8").replace(" .", " !"), "utf-8")
        write(self, tokenizer, place)

    with monkeypatch.context() as patch:
        patch.setattr(TextFiles, "write", changed_first)
        with pytest.raises(UserError, match="a file was changed while it was read, and nothing of it was kept"):
            chain(*words)
    assert not [path for path in (store / "data").iterdir() if not path.name.startswith(".")]
    shutil.copy(texts / "train.txt", folder / "train.txt")
    afterwards = chain(*words, store=store)
    assert afterwards.bytes() == chain(*words, store=tmp_path / "other").bytes()


def test_line_ends_change_no_number_and_no_key(chain, small_opt_words, texts, tmp_path):
    folder = shutil.copytree(texts, tmp_path / "texts")
    for path in folder.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    words = [word.replace(str(texts), str(folder)) for word in small_opt_words]
    declared, other = (chain(*some, "generations=0", execute=False) for some in (small_opt_words, words))
    assert [each.artifacts for each in declared.generations()] == [each.artifacts for each in other.generations()]


def test_a_chain_on_a_saved_data_set(chain, table, pretrained, tmp_path, texts):
    from datasets import Dataset, DatasetDict

    lines = {split: list(file_lines(texts / f"{split}.txt")) for split in ("train", "validation", "test")}
    DatasetDict({split: Dataset.from_dict({"text": rows}) for split, rows in lines.items()}).save_to_disk(
        tmp_path / "saved"
    )
    common = ["model=opt_125m", f"model.pretrained={pretrained}", "decoding=beam", "decoding.beams=2", "generations=0"]
    common += ["data.block_length=8", "data.train_blocks=30", "data.evaluation_blocks=10", "model.training.epochs=1"]
    common += ["model.training.generation0_epochs=1", "tracking=none", "trainer.threads=1", "trainer.accelerator=cpu"]
    files = [f"data.{split}={texts / split}.txt" for split in ("train", "validation", "test")]
    from_rows = chain(*common, "data=hub", f"data.path={tmp_path / 'saved'}", store=tmp_path / "one")
    from_files = chain(*common, "data=text_files", *files, store=tmp_path / "other")
    assert from_rows.bytes() == from_files.bytes()
