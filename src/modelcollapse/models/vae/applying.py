"""Networks applied to whole tensors, batch by batch, on the device of the execution."""

from collections.abc import Sequence

import torch

from modelcollapse.data.batches import in_order
from modelcollapse.data.images import as_grey
from modelcollapse.execution.progress import BatchProgress, stage_bar
from modelcollapse.execution.trainer import Execution
from modelcollapse.models.vae.module import ApplyingModule
from modelcollapse.models.vae.network import IMAGE_BYTES, Decoder


def apply(network: torch.nn.Module, rows: torch.Tensor, execution: Execution, label: str) -> Sequence[torch.Tensor]:
    """The outputs of the network for all rows, each a tensor with as many rows, float32 on the CPU."""
    loader = in_order(rows, execution.scoring_batch_size(IMAGE_BYTES))
    with stage_bar(label, len(loader), execution.console) as bar:
        batches = execution.trainer([BatchProgress(bar)]).predict(ApplyingModule(network), loader)
    assert batches is not None
    tuples = [output if isinstance(output, tuple) else (output,) for output in batches]
    return [torch.cat([part.float().cpu() for part in parts]) for parts in zip(*tuples, strict=True)]


def draw(decoder: Decoder, latents: torch.Tensor, execution: Execution, label: str) -> torch.Tensor:
    """The decoder's means at these latents [rows, latents], as grey images [rows, 28, 28]."""
    (intensities,) = apply(decoder, latents, execution, label)
    return as_grey(intensities)
