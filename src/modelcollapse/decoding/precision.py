"""The precision of decoding."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from modelcollapse.decoding.settings import DecodingSettings

DTYPES = {"32-true": torch.float32, "bf16-true": torch.bfloat16}


def for_writing(network: PreTrainedModel, settings: DecodingSettings) -> PreTrainedModel:
    """The network itself, in evaluation mode and, from now on, in the settings' precision."""
    return network.eval().to(DTYPES[settings.precision])


@contextmanager
def as_it_is(device: torch.device) -> Iterator[None]:
    """Compute in the network's own precision, whatever the trainer casts to, and without gradients."""
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        yield
