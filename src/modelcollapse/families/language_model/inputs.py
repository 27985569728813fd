"""Stages that prepare tokens: tokenizer, real blocks, fresh blocks, the base's blocks."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from modelcollapse.data.blocks import block_count, into_blocks, read_blocks, tokenise, write_blocks
from modelcollapse.data.language import HiddenMarkovLanguage
from modelcollapse.data.settings import HubDataSettings, LanguageDataSettings, TextDataSettings, TextFilesDataSettings
from modelcollapse.data.text import SPLITS, BadText, file_lines, split_lines, split_name
from modelcollapse.data.tokenizers import bytes_per_token, load_tokenizer, train_byte_pairs, words_tokenizer
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.families.language_model.network import network_config
from modelcollapse.families.language_model.recipes import StageContext
from modelcollapse.families.language_model.settings import LanguageModelSettings
from modelcollapse.regimes import reserve_rows, rows_of
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext

BYTES = "bytes_per_token"


def make_tokenizer(stage: StageContext, context: BuildContext) -> None:
    """Save the tokenizer as a Hugging Face folder."""
    _tokenizer(stage).save_pretrained(context.folder)


def _tokenizer(stage: StageContext) -> PreTrainedTokenizerBase:
    settings = stage.model.tokenizer
    if stage.data.kind == "language":
        return words_tokenizer(HiddenMarkovLanguage(stage.data.language).vocabulary)
    if settings.kind == "byte_pairs":
        assert stage.model.base is not None
        assert settings.vocabulary_size is not None
        return train_byte_pairs(file_lines(stage.model.base.text), settings.vocabulary_size)
    return load_tokenizer(settings.path or str(stage.model.pretrained), stage.model.revision)


def make_real_data(stage: StageContext, context: BuildContext) -> None:
    """Write the blocks of the real splits, and the bytes behind each token."""
    tokenizer = load_tokenizer(context.parents["tokenizer"])
    splits = (
        _language_splits(stage.data)
        if isinstance(stage.data, LanguageDataSettings)
        else _text_splits(stage.data, tokenizer)
    )
    write_blocks(context.folder, **splits, **{BYTES: bytes_per_token(tokenizer)})


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


def make_fresh_data(
    stage: StageContext, context: BuildContext, *, generation: int, share: float, stream: Stream
) -> None:
    """Write real blocks that no other generation of the chain trains on."""
    real = context.parents["real"]
    rows = rows_of(share, block_count(real, "train"))
    if isinstance(stage.data, LanguageDataSettings):
        language = HiddenMarkovLanguage(stage.data.language)
        blocks = language.sample(rows, stage.data.block_length, stream.numpy())
    else:
        reserve = read_blocks(real, "reserve").numpy() if stage.data.reserve else np.empty((0, 1), dtype=np.int32)
        blocks = reserve[reserve_rows(len(reserve), generation, rows, stream)]
    write_blocks(context.folder, train=blocks)


def make_base_data(stage: StageContext, context: BuildContext) -> None:
    """Write the base's text as blocks; the last ones are held out to show its perplexity."""
    base, data = stage.model.base, stage.data
    assert base is not None
    assert not isinstance(data, LanguageDataSettings)
    tokens = tokenise(_lines(base.text), load_tokenizer(context.parents["tokenizer"]), data.line_start_token)
    blocks = into_blocks(tokens, data.block_length, base.maximum_blocks)
    held_out = max(1, rows_of(base.validation_share, len(blocks)))
    if len(blocks) <= held_out:
        raise BadText(f"{base.text}: {len(blocks)} blocks of {data.block_length} tokens are too few to pretrain a base")
    write_blocks(context.folder, train=blocks[:-held_out], validation=blocks[-held_out:])


def _lines(path: str) -> Iterator[str]:
    return (line for line in file_lines(path) if line)


def rows(data: TextDataSettings, real: Path) -> tuple[int, int | None]:
    """Blocks to train on, and blocks set aside; None where more can be made."""
    if isinstance(data, LanguageDataSettings):
        return block_count(real, "train"), None
    return block_count(real, "train"), block_count(real, "reserve")


def input_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, folders: Mapping[str, Path]
) -> Iterator[str]:
    """What of the settings does not go with the finished inputs, a message a problem."""
    tokenizer = load_tokenizer(folders["tokenizer"])
    positions = model.architecture.positions if model.architecture else None
    if "pretrained" in folders:
        config = network_config(folders["pretrained"])
        positions = int(config.max_position_embeddings)
        yield from _tokenizer_problems(model, tokenizer, int(config.vocab_size))
        yield from _position_problems(model, data, decoding, positions)
    yield from _shown_text_problems(decoding, tokenizer, positions)


def _tokenizer_problems(
    model: LanguageModelSettings, tokenizer: PreTrainedTokenizerBase, vocabulary: int
) -> Iterator[str]:
    largest = max(tokenizer.get_vocab().values())
    if largest >= vocabulary:
        yield (
            f"model.tokenizer.path: {model.tokenizer.path or 'null'} has tokens up to {largest}; the weights of"
            f" model.pretrained={model.pretrained} know {vocabulary}, so that it must be the tokenizer they were"
            " trained with (model.tokenizer.path=null takes the one beside them)"
        )


def _position_problems(
    model: LanguageModelSettings, data: TextDataSettings, decoding: DecodingSettings, positions: int
) -> Iterator[str]:
    length = (decoding.prompt_tokens or data.block_length) + decoding.new_tokens
    if length > positions:
        yield (
            f"data.block_length: {data.block_length} makes prompt and continuation {length} tokens together; the"
            f" weights of model.pretrained={model.pretrained} have positions for {positions}: data.block_length or"
            " decoding.prompt_tokens must be less"
        )


def _shown_text_problems(
    decoding: DecodingSettings, tokenizer: PreTrainedTokenizerBase, positions: int | None
) -> Iterator[str]:
    for number, text in enumerate(decoding.shown_texts):
        place = f"decoding.shown_texts[{number}]"
        tokens = _tokens(tokenizer, text)
        if not tokens:
            yield f"{place}: {text!r} holds words that the tokenizer does not know; it must hold others"
        elif positions is not None and len(tokens) + decoding.new_tokens > positions:
            yield (
                f"{place}: {text!r} is {len(tokens)} tokens long; with decoding.new_tokens={decoding.new_tokens} it"
                f" must be at most {positions - decoding.new_tokens}"
            )


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a text; none where a word has none."""
    try:
        tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens
    except Exception:
        # The library raises nothing more special for a word that a vocabulary of words lacks.
        return []
