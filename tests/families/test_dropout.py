"""Dropout that remembers a byte an element: torch's bits in less memory."""

import pytest
import torch
from torch.nn import functional

from modelcollapse.families.language_model.layers import lean_dropout

CPU = torch.device("cpu")


def dropped(inputs, gradients, *, lean):
    inputs = inputs.clone().requires_grad_()
    kept_for_backward = []
    torch.manual_seed(5)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept_for_backward.append(tensor) or tensor, lambda t: t
    ):
        if lean:
            with lean_dropout(CPU):
                outputs = functional.dropout(inputs, 0.1, training=True)
        else:
            outputs = functional.dropout(inputs, 0.1, training=True)
    outputs.backward(gradients)
    next_number = torch.rand(())
    return outputs, inputs.grad, next_number, sum(tensor.nbytes for tensor in kept_for_backward)


@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_has_torchs_bits_and_takes_the_same_randomness_for_a_byte_an_element(type_):
    inputs, gradients = torch.randn(2, 300, 7, generator=torch.Generator().manual_seed(0)).to(type_)
    *torchs, _ = dropped(inputs, gradients, lean=False)
    *leans, kept_bytes = dropped(inputs, gradients, lean=True)
    assert all(torch.equal(lean, plain) for lean, plain in zip(leans, torchs, strict=True))
    assert kept_bytes == inputs.numel()


@pytest.mark.parametrize(
    ("share", "training"), [(0.1, False), (0.0, True), (1.0, True)], ids=["evaluation", "none", "all"]
)
def test_what_needs_no_chance_is_as_torch_does_it(share, training):
    inputs = torch.randn(300, 7)
    with lean_dropout(CPU):
        outputs = functional.dropout(inputs, share, training=training)
    assert torch.equal(outputs, functional.dropout(inputs, share, training=training))


def test_modules_take_it_too():
    layer, inputs = torch.nn.Dropout(0.5), torch.randn(40, 3, requires_grad=True)
    with lean_dropout(CPU):
        outputs = layer(inputs)
    assert outputs.grad_fn.name() == "_DropoutBackward"


def test_is_torchs_own_afterwards():
    with lean_dropout(CPU):
        pass
    outputs = functional.dropout(torch.randn(40, 3, requires_grad=True), 0.5)
    assert outputs.grad_fn.name() != "_DropoutBackward"
