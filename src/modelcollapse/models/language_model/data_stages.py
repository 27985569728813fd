"""Stages that prepare tokens: tokenizer, real blocks, fresh blocks, the base's blocks."""

from collections.abc import Iterator

import numpy as np
from transformers import PreTrainedTokenizerBase

from modelcollapse.data.blocks import block_count, into_blocks, read_blocks, tokenise, write_blocks
from modelcollapse.data.language import HiddenMarkovLanguage
from modelcollapse.data.text import SPLITS, BadText, file_lines, split_lines, split_name
from modelcollapse.data.tokenizers import bytes_per_token, load_tokenizer, train_byte_pairs, words_tokenizer
from modelcollapse.models.language_model.bench import Bench
from modelcollapse.regimes import reserve_rows, rows_of
from modelcollapse.seeding import Stream
from modelcollapse.settings.text import HubDataSettings, LanguageDataSettings, TextFilesDataSettings
from modelcollapse.store import Workshop

BYTES = "bytes_per_token"


def make_tokenizer(bench: Bench, workshop: Workshop) -> None:
    """Save the tokenizer as a Hugging Face folder."""
    _tokenizer(bench).save_pretrained(workshop.folder)


def _tokenizer(bench: Bench) -> PreTrainedTokenizerBase:
    settings = bench.model.tokenizer
    if bench.data.kind == "language":
        return words_tokenizer(HiddenMarkovLanguage(bench.data.language).vocabulary)
    if settings.kind == "byte_pairs":
        assert bench.model.base is not None
        assert settings.vocabulary_size is not None
        return train_byte_pairs(file_lines(bench.model.base.text), settings.vocabulary_size)
    return load_tokenizer(settings.path or str(bench.model.pretrained), bench.model.revision)


def make_real_data(bench: Bench, workshop: Workshop) -> None:
    """Write the blocks of the real splits, and the bytes behind each token."""
    tokenizer = load_tokenizer(workshop.parents["tokenizer"])
    splits = (
        _language_splits(bench.data)
        if isinstance(bench.data, LanguageDataSettings)
        else _text_splits(bench.data, tokenizer)
    )
    write_blocks(workshop.folder, **splits, **{BYTES: bytes_per_token(tokenizer)})


def _language_splits(data: LanguageDataSettings) -> dict[str, np.ndarray]:
    language = HiddenMarkovLanguage(data.language)
    sizes = {"train": data.train_blocks, "validation": data.validation_blocks, "test": data.test_blocks}
    return {
        split: language.sample(size, data.block_length, Stream(data.seed, 0, f"language.{split}").numpy())
        for split, size in sizes.items()
    }


def _text_splits(
    data: TextFilesDataSettings | HubDataSettings, tokenizer: PreTrainedTokenizerBase
) -> dict[str, np.ndarray]:
    if data.line_start_token and tokenizer.bos_token_id is None:
        raise BadText("data.line_start_token: is true, but the tokenizer has no start token; set it to false")
    splits = {}
    for split in SPLITS:
        tokens = tokenise(split_lines(data, split), tokenizer, data.line_start_token)
        most = data.train_blocks if split == "train" else data.evaluation_blocks
        splits[split] = into_blocks(tokens, data.block_length, most)
        if len(splits[split]) == 0:
            raise BadText(
                f"{split_name(data, split)}: the {split} split holds {len(tokens)} tokens, fewer than one block of"
                f" data.block_length={data.block_length}"
            )
    reserved = rows_of(data.reserve, len(splits["train"]))
    if reserved == len(splits["train"]):
        raise BadText(
            f"data.reserve: {data.reserve:g} sets aside all {reserved} blocks of the training split, and leaves none to"
            " train on; it must be less"
        )
    if reserved:
        splits["reserve"], splits["train"] = splits["train"][-reserved:], splits["train"][:-reserved]
    return splits


def make_fresh_data(bench: Bench, workshop: Workshop, *, generation: int, share: float, stream: Stream) -> None:
    """Write real blocks that no other generation of the chain trains on."""
    real = workshop.parents["real"]
    rows = rows_of(share, block_count(real, "train"))
    if isinstance(bench.data, LanguageDataSettings):
        language = HiddenMarkovLanguage(bench.data.language)
        blocks = language.sample(rows, bench.data.block_length, stream.numpy())
    else:
        reserve = read_blocks(real, "reserve").numpy() if bench.data.reserve else np.empty((0, 1), dtype=np.int32)
        blocks = reserve[reserve_rows(len(reserve), generation, rows, stream)]
    write_blocks(workshop.folder, train=blocks)


def make_base_data(bench: Bench, workshop: Workshop) -> None:
    """Write the base's text as blocks; the last ones are held out to show its perplexity."""
    base, data = bench.model.base, bench.data
    assert base is not None
    assert not isinstance(data, LanguageDataSettings)
    tokens = tokenise(_lines(base.text), load_tokenizer(workshop.parents["tokenizer"]), data.line_start_token)
    blocks = into_blocks(tokens, data.block_length, base.maximum_blocks)
    held_out = max(1, rows_of(base.validation_share, len(blocks)))
    if len(blocks) <= held_out:
        raise BadText(f"{base.text}: {len(blocks)} blocks of {data.block_length} tokens are too few to pretrain a base")
    write_blocks(workshop.folder, train=blocks[:-held_out], validation=blocks[-held_out:])


def _lines(path: str) -> Iterator[str]:
    return (line for line in file_lines(path) if line)
