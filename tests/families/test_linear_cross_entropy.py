"""The chunked losses and oneDNN's products, against the plain ones in float64."""

from functools import partial

import pytest
import torch
from torch.nn import functional
from transformers import OPTConfig, OPTForCausalLM

from modelcollapse.families.language_model import layers
from modelcollapse.families.language_model import losses as module
from modelcollapse.families.language_model.losses import focal, linear_loss, truncated_cross_entropy
from modelcollapse.families.language_model.module import weighted_loss

SHAPES = [(1, 2, 3), (5, 8, 40), (64, 16, 300), (127, 24, 1001), (300, 48, 5003)]


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(params=["one chunk", "many chunks"])
def chunks(request, monkeypatch):
    if request.param == "many chunks":
        monkeypatch.setattr(module, "CHUNK_BYTES", 4 * 7000)
        monkeypatch.setattr(module, "CACHE_BYTES", 4 * 2100)


def problem(shape, dtype=torch.float32):
    rows, width, vocabulary = shape
    hidden, weight = torch.randn(rows, width, dtype=dtype), torch.randn(vocabulary, width, dtype=dtype) / width**0.5
    row_weights = torch.rand(rows, dtype=dtype) * 2
    row_weights[::5] = 0
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(0, vocabulary, (rows,)), row_weights


def plain(hidden, weight, targets, row_weights):
    """Losses, their weighted sum and its gradients in float64, over full logits."""
    hidden, weight = (tensor.detach().double().requires_grad_() for tensor in (hidden, weight))
    losses = functional.cross_entropy(hidden @ weight.t(), targets, reduction="none")
    total = (losses * row_weights.double()).sum()
    total.backward()
    return total.detach(), losses.detach(), hidden.grad, weight.grad


def relative_error(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_losses_and_gradients_are_the_plain_ones(shape, chunks):
    hidden, weight, targets, row_weights = problem(shape)
    total, losses = linear_loss(hidden, weight, targets, row_weights)
    (3 * total).backward()
    expected = plain(hidden, weight, targets, row_weights)
    assert losses.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    assert total.item() == pytest.approx(expected[0].item(), rel=1e-5, abs=1e-6)
    assert (losses.double() - expected[1]).abs().max() < 1e-5
    if row_weights.any():
        assert relative_error(hidden.grad / 3, expected[2]) < 1e-5
        assert relative_error(weight.grad / 3, expected[3]) < 1e-5


def test_in_float64_they_agree_to_its_precision(chunks):
    hidden, weight, targets, row_weights = problem((50, 16, 300), torch.float64)
    total, losses = linear_loss(hidden, weight, targets, row_weights)
    total.backward()
    expected = plain(hidden, weight, targets, row_weights)
    assert losses.dtype == torch.float64
    assert (losses - expected[1]).abs().max() < 1e-12
    assert relative_error(hidden.grad, expected[2]) < 1e-13
    assert relative_error(weight.grad, expected[3]) < 1e-13


def test_losses_are_exact_where_probabilities_underflow():
    hidden, weight = torch.tensor([[200.0], [-200.0]]), torch.tensor([[1.0], [-1.0], [0.0]])
    losses = linear_loss(hidden, weight, torch.tensor([1, 1]))[1]
    assert losses.tolist() == pytest.approx([400.0, 0.0])


def test_a_row_without_weight_has_no_part(chunks):
    hidden, weight, targets, _ = problem((9, 8, 40))
    chosen = torch.arange(9) % 3 != 0
    total, _ = linear_loss(hidden, weight, targets, chosen.float())
    total.backward()
    assert not hidden.grad[~chosen].any()
    expected = plain(hidden[chosen], weight, targets[chosen], torch.ones(int(chosen.sum())))
    assert total.item() == pytest.approx(expected[0].item(), rel=1e-5)
    assert relative_error(weight.grad, expected[3]) < 1e-5


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_bfloat16_autocast_is_as_near_as_bfloat16_logits_are(shape, chunks):
    hidden, weight, targets, row_weights = problem(shape)
    with torch.autocast("cpu", torch.bfloat16):
        total, losses = linear_loss(hidden, weight, targets, row_weights)
    total.backward()
    assert losses.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    expected = plain(hidden, weight, targets, row_weights)
    largest_logit = (hidden.detach() @ weight.detach().t()).abs().max()
    assert (losses.double() - expected[1]).abs().max() < 2**-6 * max(largest_logit, 1)
    assert relative_error(hidden.grad, expected[2]) < 0.015
    assert relative_error(weight.grad, expected[3]) < 0.015


def test_without_gradients_none_are_made():
    hidden, weight, targets, _ = problem((40, 8, 30))
    with torch.no_grad():
        total, losses = linear_loss(hidden, weight, targets)
    assert not total.requires_grad
    assert losses.sum().item() == pytest.approx(total.item(), rel=1e-6)


def test_a_second_backward_pass_is_refused():
    hidden, weight, targets, _ = problem((4, 8, 30))
    total, losses = linear_loss(hidden, weight, targets)
    assert not losses.requires_grad
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        total.backward()


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """The most elements that any tensor had."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [each for each in torch.utils._pytree.tree_leaves(result) if isinstance(each, torch.Tensor)]
        self.elements = max([self.elements, *(tensor.numel() for tensor in tensors)])
        return result


def test_the_full_logits_never_exist(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 2**20)
    hidden, weight, targets, row_weights = problem((2000, 16, 1000))
    with LargestTensor() as seen:
        linear_loss(hidden, weight, targets, row_weights)[0].backward()
    assert seen.elements <= 2**18


# ---- losses that are differentiated automatically --------------------------------------------------------------------

GAMMA = 0.05
"""Near the median probability of a target in ``SHAPES[2]`` and above: some are learnt already, some are not."""


def truncated(hidden, weight, targets, row_weights):
    """As ``plain``, of the targets whose probability is at most GAMMA."""
    hidden, weight = (tensor.detach().double().requires_grad_() for tensor in (hidden, weight))
    probabilities = (hidden @ weight.t()).softmax(1).gather(1, targets[:, None]).squeeze(1)
    counts = (probabilities <= GAMMA).double()
    losses = -probabilities.log() * counts
    total = (losses * row_weights.double()).sum()
    total.backward()
    return total.detach(), losses.detach(), hidden.grad, weight.grad, counts


def likely_targets(shape, dtype=torch.float32):
    """A problem half of whose targets are the likeliest tokens."""
    hidden, weight, targets, row_weights = problem(shape, dtype)
    likeliest = (hidden @ weight.t()).argmax(1)
    targets[::2] = likeliest[::2]
    return hidden, weight, targets, row_weights


@pytest.mark.parametrize("shape", [(5, 8, 40), (64, 16, 300), (127, 24, 1001)], ids=str)
def test_truncated_cross_entropy_is_the_plain_formula(shape, chunks):
    hidden, weight, targets, row_weights = likely_targets(shape)
    total, losses = linear_loss(hidden, weight, targets, row_weights, partial(truncated_cross_entropy, gamma=GAMMA))
    (3 * total).backward()
    *expected, counts = truncated(hidden, weight, targets, row_weights)
    assert 0 < counts.sum() < len(counts)
    assert losses.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    assert total.item() == pytest.approx(expected[0].item(), rel=1e-5)
    assert (losses.double() - expected[1]).abs().max() < 1e-5
    assert relative_error(hidden.grad / 3, expected[2]) < 1e-5
    assert relative_error(weight.grad / 3, expected[3]) < 1e-5


def test_truncated_cross_entropy_in_bfloat16_is_given_logits_in_float32(chunks):
    hidden, weight, targets, row_weights = likely_targets((64, 16, 300))
    types = set()

    def loss(logits, targets):
        types.add(logits.dtype)
        return truncated_cross_entropy(logits, targets, gamma=1.0)

    with torch.autocast("cpu", torch.bfloat16):
        total, losses = linear_loss(hidden, weight, targets, row_weights, loss)
        with torch.no_grad():
            linear_loss(hidden, weight, targets, row_weights, loss)
    total.backward()
    assert types == {torch.float32}
    expected = plain(hidden, weight, targets, row_weights)
    assert losses.dtype == hidden.grad.dtype == torch.float32
    assert relative_error(hidden.grad, expected[2]) < 0.015
    assert relative_error(weight.grad, expected[3]) < 0.015


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_gamma_1_it_is_cross_entropy(dtype, chunks):
    hidden, weight, targets, row_weights = problem((64, 16, 300), dtype)
    expected_total, expected = linear_loss(hidden, weight, targets, row_weights)
    gradients = torch.autograd.grad(expected_total, (hidden, weight))
    total, losses = linear_loss(hidden, weight, targets, row_weights, partial(truncated_cross_entropy, gamma=1.0))
    assert torch.equal(losses, expected)
    for found, wanted in zip(torch.autograd.grad(total, (hidden, weight)), gradients, strict=True):
        assert relative_error(found, wanted.double()) < (1e-6 if dtype == torch.float32 else 1e-14)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_the_plain_formula(gamma, chunks):
    hidden, weight, targets, row_weights = likely_targets((64, 16, 300))
    total, losses = linear_loss(hidden, weight, targets, row_weights, partial(focal, gamma=gamma))
    total.backward()
    inputs, matrix = (tensor.detach().double().requires_grad_() for tensor in (hidden, weight))
    probabilities = (inputs @ matrix.t()).softmax(1).gather(1, targets[:, None]).squeeze(1)
    expected = -((1 - probabilities) ** gamma) * probabilities.log()
    (expected * row_weights.double()).sum().backward()
    assert (losses.double() - expected.detach()).abs().max() < 1e-5
    assert relative_error(hidden.grad, inputs.grad) < 1e-5
    assert relative_error(weight.grad, matrix.grad) < 1e-5


def test_a_certain_target_has_a_focal_loss_of_zero_and_a_finite_gradient():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([0]), gamma=0.5)
    loss.sum().backward()
    assert loss.item() == 0
    assert logits.grad.isfinite().all()


def test_differentiated_automatically_the_full_logits_never_exist(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 2**20)
    hidden, weight, targets, row_weights = problem((2000, 16, 1000))
    with LargestTensor() as seen:
        linear_loss(hidden, weight, targets, row_weights, partial(truncated_cross_entropy, gamma=0.5))[0].backward()
    assert seen.elements <= 2**18


@pytest.mark.parametrize("wrong", [lambda logits, targets: logits.sum(), lambda logits, targets: logits], ids="01")
def test_a_loss_that_is_no_number_a_row_is_refused(wrong):
    with pytest.raises(ValueError, match="a number a row"):
        linear_loss(*problem((5, 8, 40)), wrong)


# ---- oneDNN ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def by_onednn(monkeypatch):
    """oneDNN's products on any processor that has the operator."""
    if not layers._onednn_works():
        pytest.skip("this build of torch lacks oneDNN's operator")
    monkeypatch.setattr(layers, "onednn_pays", lambda: True)


def test_products_by_onednn_are_the_plain_ones(by_onednn):
    gradients, inputs, weight, bias = (
        torch.randn(2500, 48),
        torch.randn(2500, 32),
        torch.randn(48, 32),
        torch.randn(48),
    )
    pairs = [
        (layers.product(inputs, weight, bias), inputs.double() @ weight.double().t() + bias),
        (layers.product_with_transposed(gradients, weight), gradients.double() @ weight.double()),
        (layers.transposed_product(gradients, inputs), gradients.double().t() @ inputs.double()),
    ]
    for found, expected in pairs:
        assert found.dtype == torch.float32
        assert relative_error(found, expected) < 1e-6


def test_where_onednn_fails_torchs_own_products_are_used(monkeypatch):
    def missing(*arguments):
        raise AttributeError("no such operator")

    monkeypatch.setattr(layers, "_onednn", missing)
    assert not layers._onednn_works()
    monkeypatch.setattr(layers, "onednn_pays", layers._onednn_works)
    weight = torch.randn(512, 640)
    assert torch.equal(layers.product(torch.ones(2, 640), weight), torch.ones(2, 640) @ weight.t())
    assert layers.transposed_product(torch.ones(3, 5), torch.ones(3, 7)).tolist() == [[3.0] * 7] * 5


# ---- layers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def network():
    shape = {"hidden_size": 512, "word_embed_proj_dim": 512, "num_attention_heads": 4, "ffn_dim": 600}
    config = OPTConfig(**shape, vocab_size=50, num_hidden_layers=2, max_position_embeddings=20, dropout=0.0)
    return OPTForCausalLM(config)


def loss_and_gradients(network, tokens):
    loss = weighted_loss(network, tokens, torch.ones(len(tokens)))[0]
    return loss.detach(), torch.autograd.grad(loss, list(network.parameters()))


def test_a_network_with_fast_layers_is_the_same_function(network, by_onednn, monkeypatch):
    monkeypatch.setattr(layers, "onednn_pays", lambda: True)
    tokens, names = torch.randint(0, 50, (5, 9)), list(network.state_dict())
    plain_loss, plain_gradients = loss_and_gradients(network, tokens)
    layers.use_fast_layers(network)
    first = network.model.decoder.layers[0]
    assert type(first.fc1) is layers.OneDnnLinear
    assert type(network.lm_head) is torch.nn.Linear, "too small to pay"
    assert list(network.state_dict()) == names
    loss, gradients = loss_and_gradients(network, tokens)
    assert loss.item() == pytest.approx(plain_loss.item(), rel=1e-6)
    for found, expected in zip(gradients, plain_gradients, strict=True):
        # The gradient of a key's bias is zero but for rounding.
        assert (found - expected).norm() < 1e-5 * max(expected.norm(), 1e-2)


def test_fast_layers_in_mixed_precision_are_as_near_to_float32_as_plain_ones(network):
    tokens = torch.randint(0, 50, (40, 9))
    exact, exact_gradients = loss_and_gradients(network, tokens)

    def distances():
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            loss, gradients = loss_and_gradients(network, tokens)
        pairs = zip(gradients, exact_gradients, strict=True)
        squares = [((found - expected).norm() ** 2, expected.norm() ** 2) for found, expected in pairs]
        return float((loss - exact).abs()), float(
            sum(each for each, _ in squares) / sum(each for _, each in squares)
        ) ** 0.5

    plain = distances()
    layers.use_fast_layers(network)
    layers.use_fast_half_precision_attention(network, torch.device("cpu"))
    fast = distances()
    assert fast[0] < max(2 * plain[0], 2e-3)
    assert fast[1] < 1.2 * plain[1]


def test_norms_that_are_added_to_stay_in_float32():
    shape = {"hidden_size": 16, "word_embed_proj_dim": 16, "num_attention_heads": 2, "ffn_dim": 16}
    after = OPTForCausalLM(OPTConfig(**shape, vocab_size=20, num_hidden_layers=1, do_layer_norm_before=False))
    layers.use_fast_layers(after)
    assert type(after.model.decoder.layers[0].final_layer_norm) is torch.nn.LayerNorm
