"""A network's pass over prompts, and over one new token of every beam."""

import torch
from torch import Tensor

from modelcollapse.decoding.native.attention import attend, step_attention
from modelcollapse.decoding.native.key_value_slots import KeyValueSlots, Placement
from modelcollapse.decoding.native.network import Network

ACTIVATION_WIDTHS = 16
"""What is there at once of a position, in widths of the network: input, queries, keys, values, inner layer, sums."""


def read_prompts(network: Network, prompts: Tensor, slots: KeyValueSlots) -> Tensor:
    """What the vocabulary is multiplied with [prompts, output width] after prompts [prompts, length].

    Their keys and values go into the first slots. Beyond these the last layer computes the last position only.
    """
    count, length = prompts.shape
    positions = torch.arange(length, device=prompts.device).repeat(count)
    hidden = network.embed(prompts.flatten(), positions)
    for number, layer in enumerate(network.layers):
        projected = layer.project(hidden, positions)
        queries, keys, values = (part.unflatten(0, (count, length)) for part in projected)
        keys, values = keys.transpose(1, 2), values.transpose(1, 2)
        slots.keys[number, :, :, :length], slots.values[number, :, :, :length] = keys, values
        last = number == len(network.layers) - 1
        if last:
            queries, hidden = queries[:, -1:], hidden.view(count, length, -1)[:, -1].contiguous()
        hidden = layer.finish(hidden, attend(queries, keys, values, causal=not last))
    return network.output(hidden)


def prompt_bytes(network: Network, length: int) -> int:
    """About the most memory that `read_prompts` takes for a prompt beside its keys and values."""
    shape = network.attention
    return ACTIVATION_WIDTHS * shape.heads * shape.head_size * length * network.vocabulary.element_size()


def advance(network: Network, tokens: Tensor, position: int, slots: KeyValueSlots, placement: Placement) -> Tensor:
    """What the vocabulary is multiplied with [prompts x beams, output width] after tokens [prompts, beams]."""
    positions = torch.full((tokens.numel(),), position, device=tokens.device)
    hidden = network.embed(tokens.flatten(), positions)
    attention = step_attention(slots, placement)
    for number, layer in enumerate(network.layers):
        projected = layer.project(hidden, positions)
        queries, keys, values = (part.unflatten(0, tokens.shape) for part in projected)
        hidden = layer.finish(hidden, attention(number, queries, keys, values))
    return network.output(hidden)
