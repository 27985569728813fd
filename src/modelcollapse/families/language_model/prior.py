"""The model of a folder by whose probabilities real text is edited: taken in, and looked at."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from modelcollapse.data.hub import taken_in
from modelcollapse.data.sources import naming_source, verify_unchanged
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.edits.settings import PRIOR_FOLDER
from modelcollapse.families.language_model.network import load_published, network_config, save_network
from modelcollapse.families.language_model.published import BadWeights, weight_files
from modelcollapse.families.language_model.recipes import PRIOR, prior_recipe
from modelcollapse.store import BuildContext


def build_prior(context: BuildContext, folder: str) -> None:
    """Take the model into the store, with its own tokenizer. Raises BadSource where it is refused."""
    with taken_in(folder, None, PRIOR_FOLDER) as view, naming_source(view, folder):
        if pickled := [file.name for file in weight_files(view) if file.suffix != ".safetensors"]:
            raise BadWeights(
                f"{view}: {pickled[0]} is no safetensors file, which the weights of {PRIOR_FOLDER} must be"
            )
        save_network(load_published(view), context.folder)
        load_tokenizer(view).save_pretrained(context.folder)
    verify_unchanged(context.artifact.recipe, lambda: prior_recipe(folder))


def prior_problems(folders: Mapping[str, Path], length: int) -> Iterator[str]:
    """Why the model of a folder cannot edit a chain's text, a message a problem.

    ``folders`` are the finished inputs by role, ``length`` is that of a block in tokens.
    """
    config, own = network_config(folders[PRIOR]), load_tokenizer(folders[PRIOR])
    tokenizer = load_tokenizer(folders["tokenizer"])
    vocabulary = network_config(folders["pretrained"]).vocab_size if "pretrained" in folders else len(tokenizer)
    if own.get_vocab() != tokenizer.get_vocab():
        yield (
            f"{PRIOR_FOLDER}: its tokenizer has other tokens, or numbers them otherwise, than the chain's; it must be a"
            " model that was trained with the same tokenizer"
        )
    elif config.vocab_size != vocabulary:
        yield (
            f"{PRIOR_FOLDER}: its weights know {config.vocab_size} tokens, and those of the chain {vocabulary}; it must"
            " be a model of as many"
        )
    if length - 1 > config.max_position_embeddings:
        yield (
            f"{PRIOR_FOLDER}: its weights have positions for {config.max_position_embeddings} tokens; data.block_length"
            f" must be at most {config.max_position_embeddings + 1}, and is {length}"
        )
