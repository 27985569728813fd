"""The convolutional VAE of Shumailov et al. (2024), and the classifier that its samples are measured with."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as functional
from safetensors.torch import load_model, save_model
from torch import nn

from modelcollapse.families.vae.settings import VaeArchitectureSettings
from modelcollapse.seeding import Stream

SMALL_SIDE = 7
"""Side of the feature maps after two convolutions of stride 2, in pixels."""
IMAGE_BYTES = 2**18
"""Approximate memory of an image while a network is applied to it."""
CLASSIFIER_CHANNELS = 32
CLASSIFIER_FEATURES = 128


def _halving(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=4, stride=2, padding=1)


def _doubling(channels_in: int, channels_out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels_in, channels_out, kernel_size=4, stride=2, padding=1)


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits [rows, 2] and targets [rows] -> losses [rows]."""


class Encoder(nn.Module):
    """Mean and log-variance of the Gaussian posterior over the latents of an image."""

    def __init__(self, architecture: VaeArchitectureSettings) -> None:
        super().__init__()
        channels = architecture.channels
        self.first, self.second = _halving(1, channels), _halving(channels, 2 * channels)
        features = 2 * channels * SMALL_SIDE**2
        self.mean = nn.Linear(features, architecture.latents)
        self.log_variance = nn.Linear(features, architecture.latents)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Intensities [rows, 1, 28, 28] to mean and log-variance, [rows, latents] each."""
        features = self.second(self.first(images).relu()).relu().flatten(1)
        return self.mean(features), self.log_variance(features)


class Decoder(nn.Module):
    """Means of the Bernoulli pixels of an image, given its latents."""

    def __init__(self, architecture: VaeArchitectureSettings) -> None:
        super().__init__()
        channels = architecture.channels
        self._map = (2 * channels, SMALL_SIDE, SMALL_SIDE)
        self.features = nn.Linear(architecture.latents, 2 * channels * SMALL_SIDE**2)
        self.first, self.second = _doubling(2 * channels, channels), _doubling(channels, 1)

    def logits(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents [rows, latents] to log-odds of the pixels [rows, 1, 28, 28]."""
        features = self.features(latents).unflatten(1, self._map)
        logits: torch.Tensor = self.second(self.first(features).relu())
        return logits

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents [rows, latents] to intensities from 0 to 1, [rows, 1, 28, 28]."""
        return self.logits(latents).float().sigmoid()


def pixel_losses(logits: torch.Tensor, images: torch.Tensor, loss: Loss | None) -> torch.Tensor:
    """The loss of each pixel, of the shape of the logits, in nats; cross-entropy where no other one is given.

    A pixel is white with probability p = sigmoid(logit), else black, and its intensity x from 0 to 1 stands for x white
    and 1 - x black ones: x L(p) + (1 - x) L(1 - p), L(q) the loss of a target of probability q.
    """
    if loss is None:
        return functional.binary_cross_entropy_with_logits(logits, images, reduction="none")
    white, shares = logits.flatten(), images.flatten()
    classes = torch.stack([torch.zeros_like(white), white], dim=1)
    is_white = torch.ones(len(white), dtype=torch.int64, device=white.device)
    of_white, of_black = loss(classes, is_white), loss(classes, 1 - is_white)
    return (shares * of_white + (1 - shares) * of_black).view_as(logits)


class VariationalAutoencoder(nn.Module):
    """Encoder and decoder; with 64 channels and 20 latents it has the paper's 647,081 parameters."""

    def __init__(self, architecture: VaeArchitectureSettings) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(architecture), Decoder(architecture)

    def losses(
        self, images: torch.Tensor, noise: torch.Tensor | None = None, loss: Loss | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruction loss and KL divergence of each image, float32 [rows] each, in nats.

        The first is the binary cross-entropy between intensities [rows, 1, 28, 28] and the decoder's means, summed
        over the pixels, at one draw of the latents; the second, in closed form, is from the posterior to N(0, I).
        Their sum is the negative evidence lower bound (Kingma & Welling 2014). ``noise``: the standard normal numbers
        [rows, latents] behind the draw, which are drawn here if not given.
        ``loss``: of a pixel, see :func:`pixel_losses`.
        """
        mean, log_variance = (part.float() for part in self.encoder(images))
        noise = torch.randn_like(mean) if noise is None else noise
        latents = mean + (log_variance / 2).exp() * noise
        logits = self.decoder.logits(latents).float()
        pixels = pixel_losses(logits, images, loss)
        kl = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2
        return pixels.flatten(1).sum(1), kl


class Classifier(nn.Module):
    """A small convolutional network; what it sees before its last layer is the feature space of KID and recall."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        channels = CLASSIFIER_CHANNELS
        self.first, self.second = _halving(1, channels), _halving(channels, 2 * channels)
        self.features = nn.Linear(2 * channels * SMALL_SIDE**2, CLASSIFIER_FEATURES)
        self.classes = nn.Linear(CLASSIFIER_FEATURES, classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Intensities [rows, 1, 28, 28] to features [rows, 128] and logits [rows, classes]."""
        features = self.features(self.second(self.first(images).relu()).relu().flatten(1)).relu()
        return features, self.classes(features)

    @torch.no_grad()
    def divide_features(self, scale: float) -> None:
        """Divide the features by a positive number, without a change of the logits."""
        self.features.weight.div_(scale)
        self.features.bias.div_(scale)
        self.classes.weight.mul_(scale)


def new_network(architecture: VaeArchitectureSettings, stream: Stream) -> VariationalAutoencoder:
    """A VAE with random weights (PyTorch's initialisation) drawn from the stream."""
    with stream.global_rng():
        return VariationalAutoencoder(architecture)


def load_network(architecture: VaeArchitectureSettings, path: Path) -> VariationalAutoencoder:
    """The VAE whose weights are in the file."""
    network = VariationalAutoencoder(architecture)
    load_model(network, path)
    return network


def load_decoder(architecture: VaeArchitectureSettings, path: Path) -> Decoder:
    """The decoder whose weights are in the file, not to be trained."""
    decoder = Decoder(architecture)
    load_model(decoder, path)
    return decoder.requires_grad_(False)


def save_network(network: nn.Module, path: Path) -> None:
    """Write the weights as safetensors."""
    save_model(network, str(path))
