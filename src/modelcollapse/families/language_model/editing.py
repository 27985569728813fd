"""The stage that edits the real text: a pass of the prior over it, and tokens that are drawn anew."""

from typing import cast

import torch
from torch.nn.functional import linear

from modelcollapse.data.batches import in_order_together
from modelcollapse.data.blocks import read_blocks, write_blocks
from modelcollapse.edits.applying import Edited, edited, write_summary
from modelcollapse.families.language_model.module import LossModule
from modelcollapse.families.language_model.network import load_network, output_weight
from modelcollapse.families.language_model.recipes import PRIOR, TEXT, StageContext
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext
from modelcollapse.training.progress import BatchProgress, stage_bar

LOGITS_AT_ONCE = 2**26
"""Logits of a batch of blocks."""


class EditingModule(LossModule):
    """Edits batches of blocks by the logits of a network."""

    edit: Choice

    def predict_step(self, batch: list[torch.Tensor]) -> Edited:
        """The edit of tokens [rows, length], given numbers between 0 and 1 [rows, length - 1], on the CPU."""
        tokens, chance = batch
        hidden = self.network.base_model(input_ids=tokens[:, :-1].long(), use_cache=False)[0]
        logits = linear(hidden, output_weight(self.network)).float()
        return Edited(*(part.cpu() for part in edited(self.edit, tokens, logits=logits, chance=chance)))


def build_edited(stage: StageContext, context: BuildContext, *, edit: Choice, stream: Stream) -> None:
    """Write the edited blocks, and the share of tokens that were edited."""
    is_real = context.artifact.parents[TEXT].kind == "data"
    blocks = read_blocks(context.parents[TEXT], "train" if is_real else "blocks")
    network = load_network(context.parents[PRIOR]).eval()
    module = EditingModule(network)
    module.edit = edit
    chance = torch.from_numpy(stream.numpy().random((len(blocks), blocks.shape[1] - 1)))
    size = max(1, LOGITS_AT_ONCE // (blocks.shape[1] * len(output_weight(network))))
    loader = in_order_together([blocks, chance], size)
    with stage_bar(context.artifact.label, len(loader), stage.execution) as bar:
        parts = cast("list[Edited]", stage.execution.trainer([BatchProgress(bar)]).predict(module, loader))
    found = Edited(torch.cat([part.rows for part in parts]), torch.cat([part.is_edited for part in parts]))
    write_blocks(context.folder, blocks=found.rows.numpy())
    write_summary(context.folder, blocks, found, read_blocks(context.parents["real"], "train"))
    context.execution.update(stage.execution.facts(batch_size=size))
