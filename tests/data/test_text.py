"""Text from files and data sets: read line by line, named by content, and refused in one sentence where it is bad."""

import gzip
import shutil

import pytest

from modelcollapse.data import data_of
from modelcollapse.data.settings import HubDataSettings, TextFilesDataSettings
from modelcollapse.data.text import BadText, file_lines, fingerprint

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


def test_only_line_feeds_end_a_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\x0btwo\u2028three\x85four\r\nfive\rsix\n".encode())
    assert list(file_lines(path)) == ["one\x0btwo\u2028three\x85four\r\n", "five\rsix\n"]


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
    with pytest.raises(BadText, match="there is no such file"):
        fingerprint(tmp_path / "missing")


def test_files_of_wikitext_are_the_same_source_as_the_same_files_under_other_names(tmp_path):
    for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        for path in (tmp_path / f"wiki.{name}.raw", tmp_path / f"{split}.txt"):
            path.write_text(f"{split} {TEXT}")
    assert data_of(hub(tmp_path)).source() == data_of(text_files(tmp_path)).source()
    assert list(data_of(hub(tmp_path)).lines("validation")) == list(data_of(text_files(tmp_path)).lines("validation"))


def test_a_data_set_of_the_hub_is_named_by_id_and_commit_and_columns():
    recipe = data_of(hub("Salesforce/wikitext", revision="abc", configuration="wikitext-2-raw-v1")).source()
    assert recipe["hub"] == "Salesforce/wikitext"
    assert recipe["revision"] == "abc"
    assert recipe != data_of(hub("Salesforce/wikitext", revision="abd", configuration="wikitext-2-raw-v1")).source()
    assert (
        recipe
        != data_of(
            hub("Salesforce/wikitext", revision="abc", configuration="wikitext-2-raw-v1", column="title")
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
        ({"column": "number"}, "column 'number' holds int, not text"),
        ({"train": "learn"}, "the split 'learn' could not be loaded"),
    ],
)
def test_what_a_data_set_does_not_have_is_reported(table, tmp_path, changed, reason):
    table.save_to_disk(tmp_path / "saved")
    with pytest.raises(BadText, match=reason):
        list(data_of(hub(tmp_path / "saved", **changed)).lines("train"))


def test_an_unavailable_data_set_is_reported_with_advice(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadText, match=r"data\.path=FOLDER") as caught:
        list(data_of(hub(tmp_path / "nowhere" / "at-all")).lines("train"))
    assert "\n" not in str(caught.value)


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
