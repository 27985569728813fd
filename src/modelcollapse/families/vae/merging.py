"""The stage that merges the weights of a fitted VAE with those of other generations."""

from modelcollapse.families.vae.network import load_network, save_network
from modelcollapse.families.vae.recipes import NETWORK_FILE, TRAINING_FILE, StageContext
from modelcollapse.merges.applying import merge_network, weights_of
from modelcollapse.merges.recipes import FITTED, Merging
from modelcollapse.merges.settings import PREVIOUS, REFERENCE, STREAM
from modelcollapse.store import BuildContext


def build_merged(stage: StageContext, context: BuildContext, *, merging: Merging) -> None:
    """Write the merged network; the lines of its fit stay beside it."""
    architecture, folders = stage.model.architecture, context.parents
    network = load_network(architecture, folders[FITTED] / NETWORK_FILE)
    available = {
        REFERENCE: lambda: weights_of(load_network(architecture, folders[REFERENCE] / NETWORK_FILE)),
        PREVIOUS: lambda: weights_of(load_network(architecture, folders[PREVIOUS] / NETWORK_FILE)),
        STREAM: lambda: merging.stream,
    }
    merge_network(merging.method, network, available)
    save_network(network, context.folder / NETWORK_FILE)
    (context.folder / TRAINING_FILE).write_bytes((folders[FITTED] / TRAINING_FILE).read_bytes())
