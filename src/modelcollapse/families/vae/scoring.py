"""Scoring stages: a VAE on the real splits, and its samples under the reference encoder and the classifier."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_file

from modelcollapse.data.batches import EpochSampler, Rank, in_order_together
from modelcollapse.data.image_batches import LabelledDataModule, NoisyImages
from modelcollapse.data.images import LabelledImages, as_intensities, read_images, read_labels
from modelcollapse.families.vae.module import ClassifierModule, ScoringModule, apply, draw
from modelcollapse.families.vae.network import IMAGE_BYTES, Classifier, load_decoder, load_network
from modelcollapse.families.vae.published import publish_fit
from modelcollapse.families.vae.recipes import (
    CLASSIFIER_FILE,
    DECODER_FILE,
    LOSSES_FILE,
    MEASURED_FILE,
    NETWORK_FILE,
    TRAINING_FILE,
    StageContext,
)
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext
from modelcollapse.training.fit import Fit, fit_resumably
from modelcollapse.training.progress import BatchProgress, stage_bar
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import Progress

REAL_SPLITS = ("validation", "test")


def build_scores(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """Reconstruction loss and KL of the images of the real validation and test splits, in nats.

    For each split: ``mean_reconstruction`` and ``mean_kl`` as accumulated in the pass, ``reconstruction`` and
    ``kl`` of every image, [images].
    """
    architecture, batch_size = stage.model.architecture, stage.execution.scoring_batch_size(IMAGE_BYTES)
    splits = [
        NoisyImages.draw(read_images(context.parents["real"], split), architecture.latents, stream.within(split))
        for split in REAL_SPLITS
    ]
    loaders = [in_order_together(split, batch_size) for split in splits]
    module = ScoringModule(load_network(architecture, context.parents["model"] / NETWORK_FILE), len(loaders))
    steps = sum(map(len, loaders))
    with stage_bar(context.artifact.label, steps, stage.execution) as bar:
        stage.execution.trainer([BatchProgress(bar)]).test(module, loaders, verbose=False)
    losses: dict[str, torch.Tensor] = {}
    for index, split in enumerate(REAL_SPLITS):
        found = module.losses_of(index)
        means = (torch.tensor(mean, dtype=torch.float64) for mean in found.means())
        names = ("mean_reconstruction", "mean_kl", "reconstruction", "kl")
        losses |= {f"{split}.{name}": loss for name, loss in zip(names, (*means, *found.of_images()), strict=True)}
    save_file(losses, context.folder / LOSSES_FILE)
    _keep_training_lines(context)
    context.execution.update(stage.execution.facts(batch_size=batch_size))


def _keep_training_lines(context: BuildContext) -> None:
    """Copy the fit's lines: the record needs them even where the weights are removed to save disk."""
    lines = context.parents["model"] / TRAINING_FILE
    (context.folder / TRAINING_FILE).write_bytes(lines.read_bytes())


def build_measures(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """Latent means, features and classes of samples and of real test images.

    ``latents`` [rows, latents]: latent means under the reference's encoder; ``features`` [rows, d] and ``logits``
    [rows, classes] of the classifier; ``shown`` [rows, 28, 28] float16, for figures. The same of real images, after
    ``real_``.
    ``classifier_test_accuracy``: a number.
    """
    samples = _samples(stage, context, stream)
    real = read_images(context.parents["real"], "test")[: stage.model.evaluation.samples]
    latents, real_latents = (_latent_means(stage, context, images) for images in (samples, real))
    classifier = load_classifier(context.parents["classifier"])
    (real_features, real_logits), (features, logits) = (
        apply(classifier, as_intensities(images), stage.execution, context.artifact.label) for images in (real, samples)
    )
    shown = stage.model.evaluation.shown
    measured = {
        **{"latents": latents, "features": features, "logits": logits, "shown": samples[:shown].half()},
        **{"real_latents": real_latents, "real_features": real_features, "real_logits": real_logits},
        **{"real_shown": real[:shown].half(), "classifier_test_accuracy": _accuracy(context.parents["classifier"])},
    }
    save_file({name: tensor.contiguous() for name, tensor in measured.items()}, context.folder / MEASURED_FILE)
    context.execution.update(stage.execution.facts(batch_size=stage.execution.scoring_batch_size(IMAGE_BYTES)))


def _samples(stage: StageContext, context: BuildContext, stream: Stream) -> torch.Tensor:
    """The first images of a stored set, or as many from the decoder that the set is streamed from."""
    folder, count = context.parents["synthetic"], stage.model.evaluation.samples
    if stage.model.synthesis == "fixed":
        return read_images(folder, "train")[:count]
    decoder = load_decoder(stage.model.architecture, folder / DECODER_FILE)
    latents = torch.randn(count, stage.model.architecture.latents, generator=stream.torch())
    return draw(decoder, latents, stage.execution, context.artifact.label)


def _latent_means(stage: StageContext, context: BuildContext, images: torch.Tensor) -> torch.Tensor:
    """Posterior means [rows, latents] of the first images under the reference model's encoder."""
    reference = load_network(stage.model.architecture, context.parents["reference"] / NETWORK_FILE)
    rows = as_intensities(images[: stage.model.evaluation.latent_samples])
    means, _ = apply(reference.encoder, rows, stage.execution, context.artifact.label)
    return means


SPLITS = ("train", "validation", "test")


def build_classifier(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """Train the classifier on the real training split, keep its best epoch, scale its features, and test it."""
    real, settings = context.parents["real"], stage.model.classifier
    splits = {split: LabelledImages(read_images(real, split), read_labels(real, split)) for split in SPLITS}
    classes = 1 + max(int(part.labels.max()) for part in splits.values())

    def assemble(execution: Execution, rank: Rank) -> tuple[ClassifierModule, LabelledDataModule]:
        with stream.within("weights").global_rng():
            module = ClassifierModule(Classifier(classes), classes, settings)
        rows = len(splits["train"].images)
        sampler = EpochSampler(rows, rows, settings.batch_size, stream.within("order"))
        batch_size = execution.scoring_batch_size(IMAGE_BYTES)
        return module, LabelledDataModule(splits["train"], splits["validation"], sampler, batch_size)

    # On one device, whatever the settings: the fit takes seconds.
    fit = Fit(assemble, settings.epochs, True, None, stream.within("noise"), context.artifact.label)
    progress = Progress.of(context)
    module, _, lines = fit_resumably(fit, execution=stage.execution, progress=progress, on_epoch=_ignore)
    features, _ = apply(module.network, as_intensities(splits["train"].images), stage.execution, "classifier · scale")
    # KID's kernel has a scale of its own: mean square 1 makes its values comparable between classifiers.
    module.network.divide_features(float(features.square().mean().sqrt()))
    publish_fit(stage, context, module.network, lines, settings.batch_size, fit.devices)
    _, logits = apply(module.network, as_intensities(splits["test"].images), stage.execution, "classifier · test")
    accuracy = float((logits.argmax(1) == splits["test"].labels).double().mean())
    (context.folder / CLASSIFIER_FILE).write_text(
        json.dumps({"classes": classes, "test_accuracy": accuracy}), encoding="utf-8"
    )


def load_classifier(folder: Path) -> Classifier:
    """The classifier of a finished artifact."""
    classifier = Classifier(_facts(folder)["classes"])
    load_model(classifier, folder / NETWORK_FILE)
    return classifier


def _accuracy(folder: Path) -> torch.Tensor:
    return torch.tensor(_facts(folder)["test_accuracy"], dtype=torch.float64)


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / CLASSIFIER_FILE).read_text(encoding="utf-8"))
    return facts


def _ignore(line: Mapping[str, float]) -> None:
    """The classifier's epochs belong to no generation."""
