"""The language model as a LightningModule, for fitting and validation."""

from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from modelcollapse.families.language_model.layers import (
    lean_dropout,
    use_fast_half_precision_attention,
    use_fast_layers,
)
from modelcollapse.families.language_model.losses import CROSS_ENTROPY, Loss, linear_loss
from modelcollapse.families.language_model.network import output_weight
from modelcollapse.families.language_model.settings import TrainingSettings
from modelcollapse.metrics.distribution import perplexity
from modelcollapse.metrics.means import mean_metric
from modelcollapse.training.module import FitModule


def token_losses(network: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood in nats of each token after the first: float32 [batch, length - 1], without gradients."""
    return _weighted_losses(network, tokens, None, CROSS_ENTROPY)[1]


def weighted_loss(
    network: PreTrainedModel, tokens: torch.Tensor, weights: torch.Tensor, loss: Loss = CROSS_ENTROPY
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over blocks of their weight times their mean loss per token, and every token's loss.

    ``tokens`` [batch, length], ``weights`` [batch]; only the mean has gradients.
    """
    blocks, targets = len(tokens), tokens.shape[1] - 1
    total, losses = _weighted_losses(network, tokens, weights[:, None].expand(blocks, targets).flatten(), loss)
    return total / (blocks * targets), losses


def _weighted_losses(
    network: PreTrainedModel, tokens: torch.Tensor, token_weights: torch.Tensor | None, loss: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = tokens.long()
    # Every position is a token, whatever its id: without a mask, none is taken for padding and attention is causal.
    # The last token predicts nothing.
    with lean_dropout(tokens.device):
        hidden = network.base_model(input_ids=tokens[:, :-1], use_cache=False)[0]
    targets = tokens[:, 1:]
    rows = hidden.flatten(0, 1)
    total, losses = linear_loss(rows, output_weight(network), targets.flatten(), token_weights, loss)
    return total, losses.view(targets.shape)


def learning_rate_factor(training: TrainingSettings, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Learning rate at an optimizer step, as a share of the peak: a linear warm-up, then the schedule's."""
    if step < training.warmup_steps:
        return (step + 1) / (training.warmup_steps + 1)
    factor: float = training.schedule.build()(step, steps_per_epoch, epochs, training)
    return factor


class LossModule(LightningModule):
    """Computes losses of a network, as fast as the machine can."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network

    def setup(self, stage: str) -> None:
        """Choose how linear layers and attention are computed; the network stays the same function."""
        use_fast_layers(self.network)
        if self.trainer.precision != "32-true":
            use_fast_half_precision_attention(self.network, self.trainer.strategy.root_device)


class FittingModule(FitModule, LossModule):
    """Fits a network to weighted blocks and watches its loss on real validation blocks."""

    network: PreTrainedModel

    def __init__(self, network: PreTrainedModel, training: TrainingSettings, epochs: int, steps_per_epoch: int) -> None:
        super().__init__(network)
        self._training, self._epochs, self._steps_per_epoch = training, epochs, steps_per_epoch
        self._token_loss: Loss = training.loss.build()
        self.training_loss = mean_metric()
        self.validation_loss = mean_metric()

    def on_train_epoch_start(self) -> None:
        """Start new means, with dropout: networks are loaded in evaluation mode, and Lightning leaves it at that."""
        self.network.train()
        self.training_loss.reset()
        # Not in on_validation_start: a rank without validation rows never calls it.
        self.validation_loss.reset()

    def loss(self, batch: dict[str, Any]) -> torch.Tensor:
        """Weighted mean loss per token of a batch {tokens [batch, length], weights [batch], scale}, times its scale."""
        loss, losses = weighted_loss(self.network, batch["tokens"], batch["weights"], self._token_loss)
        self.training_loss.update(losses.double().mean(1), batch["weights"].double())
        return loss * batch["scale"]

    def split(self, batch: dict[str, Any], rows: int) -> list[dict[str, Any]]:
        """The batch in parts of so many blocks, each with its share of the scale."""
        blocks = len(batch["tokens"])
        return [
            {
                "tokens": batch["tokens"][start : start + rows],
                "weights": batch["weights"][start : start + rows],
                "scale": batch["scale"] * min(rows, blocks - start) / blocks,
            }
            for start in range(0, blocks, rows)
        ]

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Free the gradients of a step: Lightning would keep them until the next forward pass has taken its memory."""
        if (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0 or self.trainer.is_last_batch:
            self.trainer.optimizers[0].zero_grad()

    def on_validation_epoch_start(self) -> None:
        """Switch dropout off."""
        self.network.eval()

    def validation_step(self, tokens: torch.Tensor) -> None:
        """Add a batch's token losses to the validation loss."""
        self.validation_loss.update(token_losses(self.network, tokens).double())

    def epoch_line(self) -> dict[str, float]:
        """Mean training loss in nats per token, validation perplexity and the learning rate at the epoch's end.

        Perplexity is always that of cross-entropy.
        """
        return {
            "train/loss": float(self.training_loss.compute()),
            "validation/perplexity": perplexity(self.validation_value()),
            "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
        }

    def validation_value(self) -> float:
        """Mean negative log-likelihood in nats per token of the real validation split."""
        return float(self.validation_loss.compute())

    def configure_optimizers(self) -> Any:
        """The optimizer and the schedule of the settings."""
        optimizer = self._training.optimizer.build()(self.parameters(), self._training)
        schedule = LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(self._training, step, self._steps_per_epoch, self._epochs),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
