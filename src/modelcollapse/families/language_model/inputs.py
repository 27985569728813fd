"""Stages that prepare tokens: tokenizer, real blocks, fresh blocks, the base's blocks."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from modelcollapse.data import data_of
from modelcollapse.data.blocks import block_count, cut, read_blocks, tokenise, write_blocks
from modelcollapse.data.hub import taken_in
from modelcollapse.data.settings import LanguageModelData
from modelcollapse.data.sources import naming_source, verify_unchanged
from modelcollapse.data.text import BadText, file_lines
from modelcollapse.data.tokenizers import load_tokenizer, train_byte_pairs
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.families.language_model.network import network_config
from modelcollapse.families.language_model.published import described_network
from modelcollapse.families.language_model.recipes import (
    StageContext,
    base_data_recipe,
    real_data_recipe,
    tokenizer_recipe,
    tokenizer_source,
    unpacked_gb,
)
from modelcollapse.families.language_model.settings import LanguageModelSettings
from modelcollapse.regimes import rows_of
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext


def build_tokenizer(stage: StageContext, context: BuildContext) -> None:
    """Save the tokenizer as a Hugging Face folder."""
    model = stage.model
    if stage.data.has_own_vocabulary:
        data_of(stage.data).own_tokenizer().save_pretrained(context.folder)
    elif model.tokenizer.kind == "byte_pairs":
        assert model.base is not None
        assert model.tokenizer.vocabulary_size is not None
        lines = file_lines(model.base.text, unpacked_gb(stage.data))
        train_byte_pairs(lines, model.tokenizer.vocabulary_size).save_pretrained(context.folder)
    else:
        source, revision, setting = tokenizer_source(model)
        with taken_in(source, revision, setting) as folder, naming_source(folder, source):
            if source == model.pretrained:
                # The library reads config.json too, and reports what is wrong with it as the tokenizer's fault.
                described_network(folder)
            load_tokenizer(folder).save_pretrained(context.folder)
    verify_unchanged(context.artifact.recipe, lambda: tokenizer_recipe(model, stage.data))


def build_real_data(stage: StageContext, context: BuildContext) -> None:
    """Write the blocks of the real splits, and the bytes behind each token."""
    data_of(stage.data).write(load_tokenizer(context.parents["tokenizer"]), context.folder)
    verify_unchanged(context.artifact.recipe, lambda: real_data_recipe(stage.data))


def build_fresh_data(
    stage: StageContext, context: BuildContext, *, generation: int, share: float, stream: Stream
) -> None:
    """Write real blocks that no other generation of the chain trains on."""
    real = context.parents["real"]
    rows = rows_of(share, block_count(real, "train"))
    is_reserved = block_count(real, "reserve") > 0
    reserve = read_blocks(real, "reserve").numpy() if is_reserved else np.empty((0, 1), dtype=np.int32)
    write_blocks(context.folder, train=data_of(stage.data).fresh_blocks(rows, generation, reserve, stream))


def build_base_data(stage: StageContext, context: BuildContext) -> None:
    """Write the base's text as blocks; the last ones are held out to show its perplexity."""
    base, data = stage.model.base, stage.data
    assert base is not None
    lines = file_lines(base.text, unpacked_gb(data))
    tokenizer = load_tokenizer(context.parents["tokenizer"])
    tokens = tokenise((line for line in lines if line), tokenizer, data.line_start_token)
    blocks, _ = cut(tokens, context.folder, data.block_length, base.maximum_blocks)
    # What is not needed is read too: bad text is refused wherever it is.
    for _ in lines:
        pass
    trained = len(blocks) - max(1, rows_of(base.validation_share, len(blocks)))
    if trained < 1:
        raise BadText(f"{base.text}: {len(blocks)} blocks of {data.block_length} tokens are too few to pretrain a base")
    write_blocks(context.folder, train=blocks.part(0, trained), validation=blocks.part(trained, len(blocks)))
    verify_unchanged(context.artifact.recipe, lambda: base_data_recipe(base, data))


def rows(data: LanguageModelData, real: Path) -> tuple[int, int | None]:
    """Blocks to train on, and blocks set aside; None where more can be made."""
    return block_count(real, "train"), None if data.is_endless else block_count(real, "reserve")


def input_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, folders: Mapping[str, Path]
) -> Iterator[str]:
    """Conflicts between the settings and the finished inputs, a message a problem."""
    tokenizer = load_tokenizer(folders["tokenizer"])
    positions = model.architecture.positions if model.architecture else None
    if "pretrained" in folders:
        config = network_config(folders["pretrained"])
        positions = int(config.max_position_embeddings)
        yield from _tokenizer_problems(model, tokenizer, int(config.vocab_size))
        yield from _special_token_problems(model, data, tokenizer, config)
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


def _special_token_problems(
    model: LanguageModelSettings, data: LanguageModelData, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig
) -> Iterator[str]:
    """Ids in config.json that mean nothing, or something else than the tokenizer's: which tokens are special is its."""
    for name in ("bos_token_id", "eos_token_id"):
        place = f"model.pretrained={model.pretrained}: {name} is"
        found, own = getattr(config, name), getattr(tokenizer, name)
        ids = found if isinstance(found, list) else [] if found is None else [found]
        if outside := [number for number in ids if not 0 <= number < config.vocab_size]:
            yield f"{place} {outside[0]} in config.json; it must be null or below the vocabulary's {config.vocab_size}"
        elif name == "bos_token_id" and not data.line_start_token:
            continue
        elif ids and own not in ids:
            yield (
                f"{place} {found} in config.json, and {'null' if own is None else own} in the tokenizer; config.json"
                " must say what the tokenizer does, or model.tokenizer.path name the tokenizer of these weights"
            )


def _position_problems(
    model: LanguageModelSettings, data: LanguageModelData, decoding: DecodingSettings, positions: int
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
        # The library raises a bare Exception for a word that is not in the vocabulary.
        return []
