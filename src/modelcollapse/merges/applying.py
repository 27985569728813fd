"""A merge, carried out on tensors or on the weights of networks."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from modelcollapse.errors import UserError
from modelcollapse.registry import Choice, needs_of


def merged(
    merge: Choice, fitted: Mapping[str, torch.Tensor], available: Mapping[str, Callable[[], Any]]
) -> dict[str, torch.Tensor]:
    """The merged weights, by the names of the fitted ones.

    ``available`` gives each thing that a merge may need; only what this one asks for is asked of it.
    Raises UserError where the merge does not return a finite tensor of the same shape for each name.
    """
    given = {need: available[need]() for need in needs_of(merge)}
    returned = merge.build()(fitted, **given)
    place = f"merge.name: {merge.name!r}"
    if not isinstance(returned, Mapping) or returned.keys() != fitted.keys():
        raise UserError(f"{place} must return the weights by the names of those that it is given")
    for name, weight in fitted.items():
        found = returned[name]
        if not isinstance(found, torch.Tensor) or found.shape != weight.shape:
            raise UserError(f"{place} must return a tensor of the shape {list(weight.shape)} for {name}")
        if not bool(found.isfinite().all()):
            raise UserError(f"{place} gave {name} weights that are infinite or no numbers")
    return {name: returned[name] for name in fitted}


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """The floating-point parameters of a network in float32, each once where layers share it."""
    named = network.named_parameters()
    return {name: weight.detach().float() for name, weight in named if weight.is_floating_point()}


@torch.no_grad()
def merge_network(merge: Choice, network: nn.Module, available: Mapping[str, Callable[[], Any]]) -> None:
    """Give a fitted network the merged weights.

    What is merged is computed in float32 and rounded to the network's own precision. Buffers, and parameters that are
    no floating-point numbers, stay as they are fitted; layers that share a parameter share it afterwards.
    """
    found = merged(merge, weights_of(network), available)
    parameters = dict(network.named_parameters())
    for name, weight in found.items():
        parameters[name].copy_(weight)
