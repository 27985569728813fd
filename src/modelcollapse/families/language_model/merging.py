"""The stage that merges the weights of a fitted network with those of other generations."""

from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.families.language_model.network import load_network, save_network
from modelcollapse.families.language_model.recipes import TRAINING_FILE, StageContext
from modelcollapse.merges.applying import merge_network, weights_of
from modelcollapse.merges.recipes import FITTED, Merging
from modelcollapse.merges.settings import PREVIOUS, REFERENCE, STREAM
from modelcollapse.store import BuildContext


def build_merged(stage: StageContext, context: BuildContext, *, merging: Merging) -> None:
    """Write the merged network; the lines of its fit stay beside it."""
    fitted = context.parents[FITTED]
    network = load_network(fitted)
    available = {
        REFERENCE: lambda: weights_of(load_network(context.parents[REFERENCE])),
        PREVIOUS: lambda: weights_of(load_network(context.parents[PREVIOUS])),
        STREAM: lambda: merging.stream,
    }
    merge_network(merging.method, network, available)
    save_network(network, context.folder)
    load_tokenizer(fitted).save_pretrained(context.folder)
    (context.folder / TRAINING_FILE).write_bytes((fitted / TRAINING_FILE).read_bytes())
