"""LightningModules of the VAE and the classifier: fitting, scoring, sampling, encoding."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from pytorch_lightning import LightningModule
from torchmetrics import CatMetric
from torchmetrics.classification import MulticlassAccuracy

from modelcollapse.data.batches import in_order
from modelcollapse.data.images import LabelledImages, as_grey, as_intensities
from modelcollapse.families.vae.network import IMAGE_BYTES, Classifier, Decoder, VariationalAutoencoder
from modelcollapse.families.vae.settings import CROSS_ENTROPY, ClassifierSettings, VaeTrainingSettings
from modelcollapse.metrics.means import mean_metric
from modelcollapse.training.module import FitModule
from modelcollapse.training.progress import BatchProgress, stage_bar
from modelcollapse.training.trainer import Execution


class Losses(torch.nn.Module):
    """Running means over images of both parts of the loss, in nats."""

    def __init__(self) -> None:
        super().__init__()
        self.reconstruction, self.kl = mean_metric(), mean_metric()

    def reset(self) -> None:
        """Start new means."""
        self.reconstruction.reset()
        self.kl.reset()

    def add(self, network: VariationalAutoencoder, images: torch.Tensor, noise: torch.Tensor) -> None:
        """Add the losses of a batch of grey images [rows, 28, 28] at latents drawn with noise [rows, latents]."""
        self._update(*network.losses(as_intensities(images), noise))

    def _update(self, reconstruction: torch.Tensor, kl: torch.Tensor) -> None:
        self.reconstruction.update(reconstruction.double())
        self.kl.update(kl.double())

    def means(self) -> tuple[float, float]:
        """Mean reconstruction loss and mean KL."""
        return float(self.reconstruction.compute()), float(self.kl.compute())


class FittingModule(FitModule):
    """Fits a VAE to weighted images, and watches its loss on real validation images."""

    network: VariationalAutoencoder

    def __init__(
        self,
        network: VariationalAutoencoder,
        training: VaeTrainingSettings,
        beta: float,
        parent: Decoder | None,
    ) -> None:
        """``parent`` draws the training images that are not held."""
        super().__init__()
        self.network, self.parent = network, parent
        self._training, self._beta = training, beta
        # Cross-entropy is computed from the logit of a pixel, not from those of two classes.
        self._pixel_loss = None if training.loss == CROSS_ENTROPY else training.loss.build()
        self.training_loss, self.validation_losses = mean_metric(), Losses()

    def on_train_epoch_start(self) -> None:
        """Start new means."""
        self.training_loss.reset()
        # Not in on_validation_start: a rank without validation rows never calls it.
        self.validation_losses.reset()

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """Weighted sum, over the images of a batch, of reconstruction loss and beta times KL, as in the paper's code.

        Batches are {images [held, 28, 28], latents [drawn, latents], weights [held + drawn], noise [held + drawn,
        latents], scale}; the sum is multiplied by the scale.
        """
        reconstruction, kl = self.network.losses(self._images(batch), batch["noise"], self._pixel_loss)
        losses = reconstruction + self._beta * kl
        self.training_loss.update(losses.detach().double(), batch["weights"].double())
        return (losses * batch["weights"]).sum() * batch["scale"]

    def split(self, batch: dict[str, Any], rows: int) -> list[dict[str, Any]]:
        """The batch in parts of so many images, held ones first as in the batch."""
        held, starts = len(batch["images"]), range(0, len(batch["weights"]), rows)
        return [
            {
                "images": batch["images"][start : start + rows],
                "latents": batch["latents"][max(start - held, 0) : max(start + rows - held, 0)],
                "weights": batch["weights"][start : start + rows],
                "noise": batch["noise"][start : start + rows],
                "scale": batch["scale"],
            }
            for start in starts
        ]

    def _images(self, batch: dict[str, Any]) -> torch.Tensor:
        held = as_intensities(batch["images"])
        if self.parent is None:
            return held
        with torch.no_grad():
            return torch.cat([held, self.parent(batch["latents"])])

    def validation_step(self, batch: Sequence[torch.Tensor]) -> None:
        """Add a batch of grey images [rows, 28, 28] and noise [rows, latents] to the validation losses."""
        self.validation_losses.add(self.network, *batch)

    def epoch_line(self) -> dict[str, float]:
        """Training loss, and reconstruction loss and KL on the validation split, in nats per image."""
        reconstruction, kl = self.validation_losses.means()
        return {
            "train/loss": float(self.training_loss.compute()),
            "validation/reconstruction": reconstruction,
            "validation/kl": kl,
        }

    def validation_value(self) -> float:
        """The loss on the real validation split, in nats per image."""
        reconstruction, kl = self.validation_losses.means()
        return reconstruction + self._beta * kl

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer of the settings; the parent is not trained."""
        optimizer: torch.optim.Optimizer = self._training.optimizer.build()(self.network.parameters(), self._training)
        return optimizer


class ImageLosses(Losses):
    """Both parts of the loss of every image beside their means."""

    def __init__(self) -> None:
        super().__init__()
        self.reconstruction_of_images, self.kl_of_images = (CatMetric(nan_strategy="disable") for _ in range(2))

    def add(self, network: VariationalAutoencoder, images: torch.Tensor, noise: torch.Tensor) -> None:
        """Add the losses of a batch of grey images [rows, 28, 28] at latents drawn with noise [rows, latents]."""
        reconstruction, kl = network.losses(as_intensities(images), noise)
        self._update(reconstruction, kl)
        self.reconstruction_of_images.update(reconstruction.float())
        self.kl_of_images.update(kl.float())

    def of_images(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruction loss and KL of every image, float32 [images] each, on the CPU."""
        reconstruction, kl = self.reconstruction_of_images.compute(), self.kl_of_images.compute()
        return torch.as_tensor(reconstruction).cpu(), torch.as_tensor(kl).cpu()


class ScoringModule(LightningModule):
    """Reconstruction loss and KL of images under a VAE, for any number of dataloaders in one pass."""

    def __init__(self, network: VariationalAutoencoder, loaders: int) -> None:
        super().__init__()
        self.network = network
        self._losses = torch.nn.ModuleList(ImageLosses() for _ in range(loaders))

    def test_step(self, batch: Sequence[torch.Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        """Add a batch of grey images [rows, 28, 28] and noise [rows, latents] to the losses of its dataloader."""
        self.losses_of(dataloader_idx).add(self.network, *batch)

    def losses_of(self, loader: int) -> ImageLosses:
        """The running losses of one dataloader."""
        losses = self._losses[loader]
        assert isinstance(losses, ImageLosses)
        return losses


class ClassifierModule(FitModule):
    """Fits the classifier to labelled real images with Adam."""

    network: Classifier

    def __init__(self, network: Classifier, classes: int, settings: ClassifierSettings) -> None:
        super().__init__()
        self.network, self._settings = network, settings
        self.training_loss, self.validation_loss = mean_metric(), mean_metric()
        self.accuracy = MulticlassAccuracy(classes, average="micro")

    def on_train_epoch_start(self) -> None:
        """Start a new mean."""
        self.training_loss.reset()

    def loss(self, batch: LabelledImages) -> torch.Tensor:
        """Mean cross-entropy of a batch."""
        _, logits = self.network(as_intensities(batch.images))
        loss = functional.cross_entropy(logits.float(), batch.labels)
        self.training_loss.update(loss.detach().double(), len(batch.labels))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start new means."""
        self.validation_loss.reset()
        self.accuracy.reset()

    def validation_step(self, batch: LabelledImages) -> None:
        """Add a batch to validation loss and accuracy."""
        _, logits = self.network(as_intensities(batch.images))
        self.validation_loss.update(functional.cross_entropy(logits.float(), batch.labels, reduction="none").double())
        self.accuracy.update(logits.float(), batch.labels)

    def epoch_line(self) -> dict[str, float]:
        """Training loss and validation accuracy."""
        return {
            "train/loss": float(self.training_loss.compute()),
            "validation/accuracy": float(self.accuracy.compute()),
        }

    def validation_value(self) -> float:
        """Mean cross-entropy on the validation split."""
        return float(self.validation_loss.compute())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.network.parameters(), lr=self._settings.learning_rate)


class ApplyingModule(LightningModule):
    """Applies a network to batches: a decoder to latents, an encoder or a classifier to intensities."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def predict_step(self, batch: torch.Tensor) -> Any:
        """The network's outputs for a batch."""
        return self.network(batch)


def apply(network: torch.nn.Module, rows: torch.Tensor, execution: Execution, label: str) -> Sequence[torch.Tensor]:
    """The outputs of the network for all rows, each a tensor with as many rows, float32 on the CPU."""
    loader = in_order(rows, execution.scoring_batch_size(IMAGE_BYTES))
    with stage_bar(label, len(loader), execution) as bar:
        batches = execution.trainer([BatchProgress(bar)]).predict(ApplyingModule(network), loader)
    assert batches is not None
    tuples = [output if isinstance(output, tuple) else (output,) for output in batches]
    return [torch.cat([part.float().cpu() for part in parts]) for parts in zip(*tuples, strict=True)]


def draw(decoder: Decoder, latents: torch.Tensor, execution: Execution, label: str) -> torch.Tensor:
    """The decoder's means at these latents [rows, latents], as grey images [rows, 28, 28]."""
    (intensities,) = apply(decoder, latents, execution, label)
    return as_grey(intensities)
