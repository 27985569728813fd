"""Whether tokenizer, weights and texts go together: what is known once they have been read, before any fit."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from modelcollapse.data.blocks import block_count
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.models.language_model.network import network_config
from modelcollapse.settings.decoding import DecodingSettings
from modelcollapse.settings.language_model import LanguageModelSettings
from modelcollapse.settings.text import LanguageDataSettings, TextDataSettings


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
