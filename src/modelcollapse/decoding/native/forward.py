"""A network's pass over prompts, and over one new token of every beam."""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from modelcollapse.decoding.native import kernels
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


COMPILED_TYPES = (torch.float32, torch.bfloat16)
MASKED_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""All but cuDNN, which would prepare itself anew for every number of slots."""
MASK_ALIGNMENT = 8
"""Numbers; of torch's memory-efficient kernel."""


class StepAttention(Protocol):
    """The attention of one step, layer by layer."""

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Store keys and values [prompts, beams, key-value heads, size], and look with the queries, scaled.

        Queries [prompts, beams, heads, size]; gives [prompts x beams, heads x size].
        """
        ...


def step_attention(slots: KeyValueSlots, placement: Placement) -> StepAttention:
    """Compiled loops on CPUs, torch's attention elsewhere."""
    if slots.keys.device.type == "cpu" and slots.keys.dtype in COMPILED_TYPES:
        return CompiledAttention(slots, placement)
    return TorchAttention(slots, placement)


class TorchAttention:
    """torch's attention over all slots in use, with a mask; see StepAttention."""

    def __init__(self, slots: KeyValueSlots, placement: Placement) -> None:
        self._slots, self._placement = slots, placement
        hidden = ~placement.visible[:, None]
        self._mask = aligned_zeros(hidden, slots.keys.dtype).masked_fill_(hidden, -torch.inf)
        self._prompts = torch.arange(len(hidden), device=hidden.device)[:, None]

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See StepAttention."""
        used, place = self._placement.visible.shape[2], (self._prompts, slice(None), self._placement.slots)
        self._slots.keys[layer][place] = keys
        self._slots.values[layer][place] = values
        all_keys, all_values = self._slots.keys[layer, :, :, :used], self._slots.values[layer, :, :, :used]
        with sdpa_kernel(MASKED_ATTENTION):
            return attend(queries, all_keys, all_values, mask=self._mask)


def aligned_zeros(like: Tensor, dtype: torch.dtype) -> Tensor:
    """Zeros of another tensor's shape whose rows start where kernels want them: others are copied, layer by layer."""
    *rows, width = like.shape
    room = torch.zeros(*rows, math.ceil(width / MASK_ALIGNMENT) * MASK_ALIGNMENT, dtype=dtype, device=like.device)
    return room[..., :width]


class CompiledAttention:
    """The same by a loop that reads what a beam sees and nothing else; see StepAttention."""

    def __init__(self, slots: KeyValueSlots, placement: Placement) -> None:
        self._keys, self._values = as_array(slots.keys), as_array(slots.values)
        self._places, self._visible = placement.slots.contiguous().numpy(), placement.visible.contiguous().numpy()

    def __call__(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See StepAttention."""
        attended = torch.empty(queries.shape, dtype=torch.float32)
        new = (as_array(queries), as_array(keys), as_array(values))
        kernels.attend(*new, self._keys[layer], self._values[layer], self._places, self._visible, attended.numpy())
        return attended.to(queries.dtype).flatten(0, 1).flatten(1)


def as_array(tensor: Tensor) -> kernels.Numbers:
    """The tensor's memory as kernels take it."""
    array: kernels.Numbers = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention [prompts x positions, heads x size] of scaled queries [prompts, positions, heads, size].

    Keys and values [prompts, key-value heads, slots, size]. ``mask`` [prompts, 1, positions, slots] is added to the
    products; ``causal``: slots are positions, and none looks ahead.
    """
    attended = functional.scaled_dot_product_attention(
        queries.transpose(1, 2),
        keys,
        values,
        attn_mask=mask,
        is_causal=causal,
        scale=1.0,
        enable_gqa=queries.shape[2] != keys.shape[1],
    )
    return attended.transpose(1, 2).flatten(0, 1).flatten(1)
