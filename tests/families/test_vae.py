"""The VAE network, its loss, its fit and the classifier, each against what it should be."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from modelcollapse.data.batches import in_order_together
from modelcollapse.data.image_batches import NoisyImages
from modelcollapse.data.images import as_intensities
from modelcollapse.families.language_model.settings import FocalSettings, TruncatedCrossEntropySettings
from modelcollapse.families.vae.module import FittingModule, ScoringModule
from modelcollapse.families.vae.network import (
    Classifier,
    Decoder,
    VariationalAutoencoder,
    load_decoder,
    load_network,
    new_network,
    pixel_losses,
    save_network,
)
from modelcollapse.families.vae.recipes import decoder_parameter_count, parameter_count
from modelcollapse.families.vae.settings import VaeArchitectureSettings, VaeTrainingSettings
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream

PAPER = VaeArchitectureSettings(channels=64, latents=20)
SMALL = VaeArchitectureSettings(channels=3, latents=2)
TRAINING = VaeTrainingSettings(
    epochs=1,
    generation0_epochs=None,
    epoch_size="training_set",
    batch_size=4,
    learning_rate=1e-3,
    weight_decay=1e-5,
    gradient_clip=None,
    checkpoint="last",
)


def parameters(network):
    return sum(weights.numel() for weights in network.parameters())


def grey(rows):
    return torch.randint(0, 256, (rows, 28, 28), dtype=torch.uint8)


@pytest.fixture
def network():
    return new_network(SMALL, Stream(0, 0, "test"))


def test_the_papers_network_has_647081_parameters():
    network = VariationalAutoencoder(PAPER)
    assert parameters(network) == parameter_count(PAPER) == 647_081
    assert parameters(network.decoder) == decoder_parameter_count(PAPER)
    assert parameters(VariationalAutoencoder(SMALL)) == parameter_count(SMALL)


def test_the_papers_layers():
    network = VariationalAutoencoder(PAPER)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [(1, 64), (64, 128), (128, 64), (64, 1)]
    for layer in layers:
        assert (layer.kernel_size, layer.stride, layer.padding) == ((4, 4), (2, 2), (1, 1))
    mean, log_variance = network.encoder(torch.rand(5, 1, 28, 28))
    assert mean.shape == log_variance.shape == (5, 20)
    pixels = network.decoder(30 * torch.randn(5, 20))
    assert pixels.shape == (5, 1, 28, 28)
    assert bool((pixels >= 0).all())
    assert bool((pixels <= 1).all())


def test_the_loss_is_the_direct_formula(network):
    images = as_intensities(grey(6))
    images[0] = 0.0
    images[1] = 1.0
    torch.manual_seed(3)
    reconstruction, kl = network.losses(images)
    torch.manual_seed(3)
    noise = torch.randn(6, 2)
    mean, log_variance = (part.double() for part in network.encoder(images))
    deviation = torch.exp(0.5 * log_variance)
    pixels = network.decoder((mean + deviation * noise).float()).double().detach()
    x = images.double()
    expected = -(x * pixels.log() + (1 - x) * (1 - pixels).log()).sum((1, 2, 3))
    assert torch.allclose(reconstruction.double(), expected, rtol=1e-5)
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    divergence = torch.distributions.kl_divergence(torch.distributions.Normal(mean, deviation), prior).sum(1)
    assert torch.allclose(kl.double(), divergence, rtol=1e-5)


def test_the_loss_stays_finite_where_a_pixel_is_certain_and_wrong(network):
    with torch.no_grad():
        network.decoder.second.bias.fill_(200.0)
    reconstruction, _ = network.losses(torch.zeros(2, 1, 28, 28))
    assert torch.allclose(reconstruction, torch.full((2,), 200.0 * 784), rtol=0.01)


def batch(images, latents=0, weights=None):
    rows = len(images) + latents
    return {
        "images": images,
        "latents": torch.randn(latents, SMALL.latents),
        "weights": torch.ones(rows) if weights is None else torch.tensor(weights),
        "noise": torch.randn(rows, SMALL.latents),
        "scale": 1.0,
    }


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_a_step_sums_the_weighted_losses_of_its_images(network, beta):
    module = FittingModule(network, TRAINING, beta, None)
    images, weights = grey(3), [0.5, 2.0, 0.0]
    weighted = batch(images, weights=weights)
    loss = module.training_step(weighted)
    reconstruction, kl = network.losses(as_intensities(images), weighted["noise"])
    assert loss.item() == pytest.approx(((reconstruction + beta * kl) * torch.tensor(weights)).sum().item(), rel=1e-6)
    mean = ((reconstruction + beta * kl) * torch.tensor(weights)).sum().item() / sum(weights)
    assert float(module.training_loss.compute()) == pytest.approx(mean, rel=1e-6)


def test_streamed_rows_are_the_parents_means_and_the_parent_is_not_trained(network):
    parent = Decoder(SMALL).requires_grad_(False)
    module = FittingModule(network, TRAINING, 1.0, parent)
    mixed = batch(grey(2), latents=3)
    loss = module.training_step(mixed)
    images = torch.cat([as_intensities(mixed["images"]), parent(mixed["latents"])])
    assert loss.item() == pytest.approx(torch.stack(network.losses(images, mixed["noise"])).sum().item(), rel=1e-6)
    optimiser = module.configure_optimizers()
    trained = {id(weights) for group in optimiser.param_groups for weights in group["params"]}
    assert trained == {id(weights) for weights in network.parameters()}


def test_weight_decay_is_adams_l2_penalty():
    """Where the loss has no gradient, L2 moves a weight by the whole learning rate, AdamW by next to nothing."""
    network = nn.Linear(1, 1)
    module = FittingModule(network, TRAINING, 1.0, None)
    before = float(network.weight)
    network.weight.grad = torch.zeros(1, 1)
    module.configure_optimizers().step()
    assert before - float(network.weight) == pytest.approx(np.sign(before) * 1e-3, rel=0.01)


def test_scores_are_means_over_all_images_whatever_the_batches(network):
    images, noise = NoisyImages.draw(grey(7), SMALL.latents, Stream(0, 0, "noise"))
    expected = [float(part.double().mean()) for part in network.losses(as_intensities(images), noise)]
    for size in (1, 3, 7):
        module = ScoringModule(network, 1)
        for batch in in_order_together((images, noise), size):
            module.test_step(batch, 0)
        assert module.losses_of(0).means() == pytest.approx(expected, rel=1e-6)


def test_the_noise_of_an_image_decides_its_latents(network):
    images, noise = NoisyImages.draw(grey(4), SMALL.latents, Stream(0, 0, "noise"))
    intensities = as_intensities(images)
    first, _ = network.losses(intensities, noise)
    assert torch.equal(network.losses(intensities, noise)[0], first)
    changed = noise.clone()
    changed[2] += 1
    assert (network.losses(intensities, changed)[0] != first).tolist() == [False, False, True, False]


def test_networks_come_back_from_their_files(network, tmp_path):
    save_network(network, tmp_path / "network.safetensors")
    save_network(network.decoder, tmp_path / "decoder.safetensors")
    loaded = load_network(SMALL, tmp_path / "network.safetensors")
    for name, weights in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weights)
    latents = torch.randn(4, 2)
    decoder = load_decoder(SMALL, tmp_path / "decoder.safetensors")
    assert torch.equal(decoder(latents), network.decoder(latents))
    assert not any(weights.requires_grad for weights in decoder.parameters())


def test_random_weights_follow_from_the_stream_and_nothing_else():
    torch.manual_seed(0)
    first = new_network(SMALL, Stream(0, 1, "weights")).state_dict()
    torch.manual_seed(1)
    again, other = (new_network(SMALL, Stream(0, number, "weights")).state_dict() for number in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["decoder.second.weight"], other["decoder.second.weight"])


def test_features_are_scaled_without_a_change_of_the_classes():
    classifier, images = Classifier(10), torch.rand(5, 1, 28, 28)
    features, logits = classifier(images)
    classifier.divide_features(0.25)
    scaled, same = classifier(images)
    assert torch.allclose(scaled, 4 * features, rtol=1e-4)
    assert torch.allclose(same, logits, atol=1e-4)


TRUNCATED = Choice("losses", "truncated_cross_entropy", TruncatedCrossEntropySettings(0.7))
FOCAL = Choice("losses", "focal", FocalSettings(2.0))


def plain_losses(probabilities, intensities, weigh):
    """x L(p) + (1 - x) L(1 - p) for L(q) = weigh(q) (-log q), written out."""
    white, black = probabilities, 1 - probabilities
    of_white, of_black = (-weigh(q) * q.log() for q in (white, black))
    return intensities * of_white + (1 - intensities) * of_black


def pixel_case():
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=generator)
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64, generator=generator).round(decimals=1)
    images[0] = images[0].round()
    return logits, images


@pytest.mark.parametrize(
    ("loss", "weigh"),
    [
        (
            Choice("losses", "truncated_cross_entropy", TruncatedCrossEntropySettings(0.7)),
            lambda q: (q.detach() <= 0.7).double(),
        ),
        (Choice("losses", "focal", FocalSettings(2.0)), lambda q: (1 - q) ** 2),
        (Choice("losses", "cross_entropy"), torch.ones_like),
    ],
    ids=["truncated", "focal", "cross_entropy"],
)
def test_pixels_are_targets_of_a_loss_with_the_gradients_of_the_plain_formula(loss, weigh):
    values, images = pixel_case()
    ours, plain = (values.clone().requires_grad_() for _ in range(2))
    found = pixel_losses(ours, images, loss.build())
    expected = plain_losses(plain.sigmoid(), images, weigh)
    assert found.shape == values.shape
    torch.testing.assert_close(found, expected)
    for total in (found, expected):
        total.sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)
    if loss.name == "cross_entropy":
        torch.testing.assert_close(found, pixel_losses(values, images, None))
    else:
        assert not torch.allclose(found, pixel_losses(values, images, None))


def test_a_fit_minimises_the_chosen_loss_and_is_validated_by_cross_entropy(network):
    data, training = batch(grey(4)), dataclasses.replace(TRAINING, loss=FOCAL)
    chosen, plain = (FittingModule(network, each, 1.0, None) for each in (training, TRAINING))
    of_pixels, kl = network.losses(as_intensities(data["images"]), data["noise"], training.loss.build())
    assert float(chosen.loss(data)) == pytest.approx(float((of_pixels + kl).sum()), rel=1e-5)
    assert float(chosen.loss(data)) < float(plain.loss(data))
    validated = (grey(4), torch.zeros(4, SMALL.latents))
    for module in (chosen, plain):
        module.validation_step(validated)
    assert chosen.validation_value() == plain.validation_value()
