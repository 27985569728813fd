"""Problems that only the data show: one message, before anything is fitted. And losses that are no numbers."""

import gzip
import json
import math
import shutil

import numpy as np
import pytest
from tiny_chains import CHAINS

from conftest import TINY_SMALL_OPT
from modelcollapse.families.language_model.module import FittingModule
from modelcollapse.store import Store

FITTED = ("model", "base", "classifier", "synthetic", "scores")


@pytest.fixture
def refused(train, tmp_path):
    """Run the command: the message of the one error, after a check that nothing was fitted."""

    def run(*words):
        finished = train(*words)
        assert finished.code == 2, finished.out + finished.err
        assert "Traceback" not in finished.out + finished.err
        assert finished.err.startswith("error: ")
        made = {manifest.kind for manifest in Store(tmp_path / "store").artifacts()}
        assert not made & set(FITTED), made
        assert not list((tmp_path / "store").glob("*/.*"))
        return finished.err

    return run


# ---- text -----------------------------------------------------------------------------------------------------


@pytest.fixture
def own_texts(texts, tmp_path):
    """A copy of the texts to spoil, and words of a chain on them that fits no base."""
    folder = tmp_path / "texts"
    shutil.copytree(texts, folder)
    files = [f"data.{split}={folder / split}.txt" for split in ("train", "validation", "test")]
    return folder, (*TINY_SMALL_OPT, *files, f"model.base.text={folder / 'base.txt'}")


def overwrite(content):
    return lambda path: path.write_bytes(content)


SPOILT = {
    "empty": (overwrite(b""), "holds no text"),
    "blank lines": (overwrite(b"\n  \n\t\n" * 50), "holds no text"),
    "shorter than a block": (overwrite(b"one two\n"), "fewer than one block of data.block_length=8"),
    "another encoding": (overwrite("caf\u00e9 ".encode("latin-1") * 200), "is not UTF-8 text"),
    "two bytes a letter": (overwrite("one two three\n".encode("utf-16") * 50), "is not UTF-8 text"),
    "zeros": (overwrite(b"one two three\n" * 50 + bytes(100)), "NUL character"),
    "an image": (overwrite(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9), "is not UTF-8 text"),
    "compressed under a plain name": (overwrite(gzip.compress(b"one two three\n" * 200)), "is not UTF-8 text"),
    "removed": (lambda path: path.unlink(), "there is no such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
}


@pytest.mark.parametrize("split", ["train", "test", "base"])
@pytest.mark.parametrize("name", SPOILT)
def test_bad_text_is_reported_before_the_first_fit(refused, own_texts, split, name):
    if split == "test" and name not in ("empty", "zeros"):
        pytest.skip("as for the training split")
    spoil, reason = SPOILT[name]
    folder, words = own_texts
    spoil(folder / f"{split}.txt")
    said = refused(*words)
    assert str(folder / f"{split}.txt") in said
    assert reason in said or (split == "base" and "too few to pretrain a base" in said)


@pytest.mark.parametrize("spoil", [lambda content: content[: len(content) // 2], lambda content: b"no gzip at all"])
def test_a_broken_gzip_file_is_reported_before_the_first_fit(refused, own_texts, spoil):
    folder, words = own_texts
    packed = folder / "train.txt.gz"
    packed.write_bytes(spoil(gzip.compress((folder / "train.txt").read_bytes())))
    said = refused(*words, f"data.train={packed}")
    assert f"{packed}: is not a complete gzip file" in said


def test_more_fresh_text_than_was_set_aside_is_reported_before_the_first_fit(refused, own_texts):
    _, words = own_texts
    said = refused(*words, "regime=fresh", "regime.real=0.5", "data.reserve=0.2", "generations=3")
    assert "data.reserve: sets aside 12 rows; regime=fresh needs 72, for each of 3 generations 24" in said


def test_a_reserve_that_leaves_nothing_is_reported(refused, own_texts):
    _, words = own_texts
    said = refused(*words, "data.train_blocks=1", "data.reserve=0.9")
    assert "data.reserve: 0.9 sets aside all 1 blocks" in said


def test_a_share_of_no_block_is_reported_before_the_first_fit(refused, own_texts):
    _, words = own_texts
    said = refused(*words, "regime=preserve", "regime.real=0.001")
    assert "regime.real: 0.001 of 60 real rows comes to no row at all; it must be 0 or at least 0.0083" in said


def test_a_text_too_long_to_be_continued_is_reported_before_the_first_fit(refused, own_texts):
    _, words = own_texts
    said = refused(*words, f"decoding.shown_texts=[{'word ' * 200}]", "model.architecture.positions=40")
    assert "decoding.shown_texts[0]" in said
    assert "tokens long; with decoding.new_tokens=8 it must be at most 32" in said


def test_a_text_of_words_that_the_language_lacks_is_reported_before_the_first_fit(refused, tiny):
    said = refused(*tiny, "decoding.shown_texts=[xyzzy]")
    assert "decoding.shown_texts[0]: 'xyzzy' holds words that the tokenizer does not know" in said


# ---- weights --------------------------------------------------------------------------------------------------


@pytest.fixture
def pretrained_words(own_texts, pretrained, tmp_path):
    """A copy of published weights to spoil, and words of a chain from them."""
    folder = tmp_path / "weights"
    shutil.copytree(pretrained, folder)
    _, words = own_texts
    return folder, (
        *words,
        "model.base=null",
        "model.architecture=null",
        "model.tokenizer.kind=pretrained",
        "model.tokenizer.vocabulary_size=null",
        f"model.pretrained={folder}",
    )


def test_a_tokenizer_that_does_not_fit_the_weights_is_reported_before_the_first_fit(
    refused, pretrained_words, texts, tmp_path
):
    from modelcollapse.data.tokenizers import train_byte_pairs

    folder, words = pretrained_words
    train_byte_pairs((texts / "base.txt").read_text().splitlines(), 400).save_pretrained(tmp_path / "larger")
    said = refused(*words, f"model.tokenizer.path={tmp_path / 'larger'}")
    assert f"model.tokenizer.path: {tmp_path / 'larger'} has tokens up to" in said
    assert f"the weights of model.pretrained={folder} know 300" in said


def test_blocks_longer_than_the_weights_can_read_are_reported_before_the_first_fit(refused, pretrained_words):
    _, words = pretrained_words
    said = refused(*words, "data.block_length=70")
    assert "data.block_length: 70 makes prompt and continuation 140 tokens together" in said
    assert "have positions for 130" in said


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer could be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("{half"), "no tokenizer could be loaded"),
        (lambda folder: (folder / "config.json").write_text("{half"), "could be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "no weights could be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights could be loaded"),
    ],
    ids=["no tokenizer", "half a tokenizer", "half a description", "half the weights", "no weights"],
)
def test_spoilt_weights_are_reported_before_the_first_fit(refused, pretrained_words, spoil, reason):
    folder, words = pretrained_words
    spoil(folder)
    said = refused(*words)
    assert str(folder) in said
    assert reason in said


# ---- images ---------------------------------------------------------------------------------------------------


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()


@pytest.fixture
def images(tmp_path):
    """A folder of idx files to spoil, and words of a chain on it."""
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for head, rows in (("train", 80), ("t10k", 20)):
        pictures = generator.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        (folder / f"{head}-images-idx3-ubyte").write_bytes(idx(pictures))
        (folder / f"{head}-labels-idx1-ubyte").write_bytes(idx((np.arange(rows) % 10).astype(np.uint8)))
    words = [word for word in CHAINS["vae"] if word != "data=digits"]
    return folder, (*words, "data=mnist", f"data.path={folder}")


SPOILT_IMAGES = {
    "empty": (overwrite(b""), "is no idx file"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "its header announces"),
    "of two dimensions": (overwrite(idx(np.zeros((80, 784), dtype=np.uint8))), "is no idx file of unsigned bytes in 3"),
    "of another size": (overwrite(idx(np.zeros((80, 32, 32), dtype=np.uint8))), "images of 32 x 32 pixels"),
    "none": (overwrite(idx(np.zeros((0, 28, 28), dtype=np.uint8))), "0 images, but 80 labels"),
    "of another number": (overwrite(idx(np.zeros((79, 28, 28), dtype=np.uint8))), "79 images, but 80 labels"),
    "labels": (overwrite(idx(np.zeros(80, dtype=np.uint8))), "is no idx file of unsigned bytes in 3"),
}


@pytest.mark.parametrize("name", SPOILT_IMAGES)
def test_bad_images_are_reported_before_the_first_fit(refused, images, name):
    folder, words = images
    spoil, reason = SPOILT_IMAGES[name]
    spoil(folder / "train-images-idx3-ubyte")
    said = refused(*words)
    assert str(folder) in said
    assert reason in said


def test_images_cut_off_inside_their_gzip_file_are_reported(refused, images):
    folder, words = images
    plain = folder / "train-images-idx3-ubyte"
    content = gzip.compress(plain.read_bytes())
    plain.with_name(f"{plain.name}.gz").write_bytes(content[: len(content) // 2])
    plain.unlink()
    assert "is not a complete gzip file" in refused(*words)


def test_fewer_test_images_than_neighbours_are_reported_before_the_first_fit(refused, images):
    _, words = images
    said = refused(*words, "data.test_rows=null", "model.evaluation.neighbours=20", "model.evaluation.samples=100")
    assert "model.evaluation.neighbours: 20 must be less than the 20 images" in said


@pytest.mark.parametrize("chain_of", ["images", "text"])
def test_a_data_set_that_is_a_program_is_refused_and_not_run(refused, images, own_texts, tmp_path, chain_of):
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "programs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    words = images[1] if chain_of == "images" else (*own_texts[1], "data=hub")
    if chain_of == "text":
        words = [word for word in words if not word.startswith(("data.", "data=text"))] + ["data.block_length=8"]
    said = refused(*words, f"data.path={folder}")
    assert str(folder) in said
    assert not (tmp_path / "ran").exists()


# ---- losses that are no numbers -------------------------------------------------------------------------------


BREAKING = ("model.training.epochs=3", "model.training.generation0_epochs=1", "model.init=previous", "generations=2")


@pytest.fixture
def breaking(monkeypatch):
    """Fits whose loss becomes NaN in their fourth step, which only generations 1 and 2 have."""
    step = FittingModule.training_step

    def broken_step(self, batch):
        loss = step(self, batch)
        return loss * math.nan if self.trainer.global_step == 3 else loss

    monkeypatch.setattr(FittingModule, "training_step", broken_step)


def test_a_loss_of_nan_stops_the_chain_and_is_named_with_generation_and_step(train, tiny, tmp_path, breaking):
    stopped = train(*tiny, *BREAKING)
    assert stopped.code == 2
    assert "Traceback" not in stopped.err
    assert "generation 1 · fit: " in stopped.err
    assert "became NaN or infinite in epoch 1, at step 4" in stopped.err
    assert "trainer.on_nan=continue" in stopped.err
    assert json.loads((stopped.folder / "chain.json").read_text())["status"] == "failed"
    assert [line["generation"] for line in stopped.lines()] == [0]
    assert not list((tmp_path / "store").glob("*/.*"))


@pytest.mark.parametrize("on_nan", ["stop", "continue"])
def test_a_loss_beyond_all_perplexities_is_named(train, tiny, monkeypatch, on_nan):
    monkeypatch.setattr(FittingModule, "validation_value", lambda self: 1000.0)
    stopped = train(*tiny, "generations=0", f"trainer.on_nan={on_nan}")
    assert stopped.code == 2
    assert "generation 0 · fit: validation/perplexity became NaN or infinite in epoch 0" in stopped.err
    assert "Traceback" not in stopped.err


def test_a_chain_can_go_on_after_a_loss_of_nan_and_its_record_says_so(train, tiny, tmp_path, breaking):
    train(*tiny, *BREAKING)
    finished = train(*tiny, *BREAKING, "trainer.on_nan=continue")
    assert finished.code == 0, finished.err
    assert "generation 1 · fit: " in finished.out
    lines = finished.lines()
    assert ["fit/broken_epoch" in line for line in lines] == [False, True, True]
    assert all(math.isfinite(line["test/perplexity"]) for line in lines)
    broken = [line for line in finished.lines("training.jsonl") if None in line.values()]
    assert [(line["generation"], line["epoch"]) for line in broken] == [(1, 1), (2, 1)]
    again = train(*tiny, *BREAKING, "trainer.on_nan=continue")
    assert again.bytes() == finished.bytes()
    refused = train(*tiny, *BREAKING)
    assert refused.code == 2
    assert "generation 1: the loss became NaN or infinite in epoch 1" in refused.err
