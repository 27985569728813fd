"""Selection stages: score images that a model drew or that one is to be trained on, and keep some of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule

from modelcollapse.data.batches import in_order_together
from modelcollapse.data.image_batches import NoisyImages
from modelcollapse.data.images import as_intensities, image_count, read_images, write_images
from modelcollapse.families.vae.module import apply
from modelcollapse.families.vae.network import IMAGE_BYTES, VariationalAutoencoder, load_network
from modelcollapse.families.vae.recipes import NETWORK_FILE, SCORING_STREAM, StageContext
from modelcollapse.families.vae.scoring import load_classifier
from modelcollapse.families.vae.training_set import composed_images, resolved
from modelcollapse.regimes import Draw, rows_of
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.choosing import choose, score, write_scores
from modelcollapse.selections.composed_rows import choose_composed, write_composed_scores
from modelcollapse.selections.recipes import Choosing
from modelcollapse.store import BuildContext
from modelcollapse.training.progress import BatchProgress, stage_bar


def build_candidate_scores(stage: StageContext, context: BuildContext, *, scorer: Choice, stream: Stream) -> None:
    """Compute the scores of the candidates."""
    candidates = read_images(context.parents["candidates"], "train")
    write_scores(context, score(scorer, candidates, _available(stage, context, candidates, stream)))


def _available(
    stage: StageContext, context: BuildContext, candidates: torch.Tensor, stream: Stream
) -> dict[str, Callable[[], Any]]:
    """What a scorer of grey images [rows, 28, 28] may need."""
    return {
        "reference_losses": lambda: _image_losses(stage, context, "reference", candidates),
        "writer_losses": lambda: _image_losses(stage, context, "writer", candidates),
        "class_log_probabilities": lambda: _class_log_probabilities(stage, context, candidates),
        "real_rows": lambda: read_images(context.parents["real"], "train"),
        "stream": lambda: stream,
    }


def _class_log_probabilities(stage: StageContext, context: BuildContext, images: torch.Tensor) -> torch.Tensor:
    """What the chain's classifier takes grey images [rows, 28, 28] for, [rows, classes] float64."""
    classifier = load_classifier(context.parents["classifier"])
    _, logits = apply(classifier, as_intensities(images), stage.execution, context.artifact.label)
    return logits.double().log_softmax(1)


class _LossesModule(LightningModule):
    """Negative evidence lower bounds of single images."""

    def __init__(self, network: VariationalAutoencoder) -> None:
        super().__init__()
        self.network = network

    def predict_step(self, batch: Sequence[torch.Tensor]) -> torch.Tensor:
        """Losses [rows] in nats of grey images [rows, 28, 28] at latents drawn with noise [rows, latents]."""
        images, noise = batch
        reconstruction, kl = self.network.losses(as_intensities(images), noise)
        return reconstruction.double() + kl.double()


def _image_losses(stage: StageContext, context: BuildContext, role: str, images: torch.Tensor) -> torch.Tensor:
    """Negative evidence lower bounds [rows] float64 of grey images [rows, 28, 28] under the VAE of a parent."""
    architecture, batch_size = stage.model.architecture, stage.execution.scoring_batch_size(IMAGE_BYTES)
    noisy = NoisyImages.draw(images, architecture.latents, SCORING_STREAM.within("candidates"))
    loader = in_order_together(noisy, batch_size)
    module = _LossesModule(load_network(architecture, context.parents[role] / NETWORK_FILE))
    with stage_bar(context.artifact.label, len(loader), stage.execution) as bar:
        batches = stage.execution.trainer([BatchProgress(bar)]).predict(module, loader)
    context.execution.update(stage.execution.facts(batch_size=batch_size))
    assert batches is not None
    return torch.cat([torch.as_tensor(losses).cpu() for losses in batches])


def build_selected(stage: StageContext, context: BuildContext, *, choosing: Choosing, rows: float) -> None:
    """Keep as many of the candidates as the regime asks for, as a synthetic set of their own."""
    candidates = read_images(context.parents["candidates"], "train")
    wanted = rows_of(rows, image_count(context.parents["real"], "train"))
    kept = choose(context, choosing, len(candidates), wanted, prompts=None)
    write_images(context.folder, "train", candidates[kept.rows])


def build_training_set_scores(
    stage: StageContext, context: BuildContext, *, scorer: Choice, stream: Stream, draws: Sequence[Draw]
) -> None:
    """Compute the scores of all images of a training set."""
    real_rows = image_count(context.parents["real"], "train")
    images = composed_images(draws, context.parents, real_rows).images
    available = _available(stage, context, images, stream)
    write_composed_scores(context, scorer, images, lambda: resolved(draws, context.parents, real_rows), available)


def build_selected_rows(
    stage: StageContext, context: BuildContext, *, choosing: Choosing, size: float, draws: Sequence[Draw]
) -> None:
    """Keep places of a training set, ``size`` times as many as it has."""
    parts = resolved(draws, context.parents, image_count(context.parents["real"], "train"))
    choose_composed(context, choosing, size, parts)
