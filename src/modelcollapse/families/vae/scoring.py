"""Stages that score: a VAE on the real splits, and what it draws under the reference encoder and the classifier."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_model

from modelcollapse.data.batches import EpochSampler, Share, in_order_together
from modelcollapse.data.image_batches import LabelledDataModule, NoisyImages
from modelcollapse.data.images import LabelledImages, as_intensities, read_images, read_labels
from modelcollapse.families.base import within
from modelcollapse.families.vae.module import ClassifierModule, ScoringModule, apply, draw
from modelcollapse.families.vae.network import IMAGE_BYTES, Classifier, load_decoder, load_network
from modelcollapse.families.vae.published import publish_fit, read_metrics, write_measured, write_metrics
from modelcollapse.families.vae.recipes import DECODER_FILE, NETWORK_FILE, TRAINING_FILE, StageContext
from modelcollapse.metrics.images import (
    class_shares,
    confidence,
    entropy,
    kernel_inception_distance,
    precision_and_recall,
)
from modelcollapse.seeding import Stream
from modelcollapse.store import BuildContext
from modelcollapse.training.fit import Fit, fit_resumably
from modelcollapse.training.progress import BatchProgress, stage_bar
from modelcollapse.training.trainer import Execution
from modelcollapse.training.verified_files import Progress

REAL_SPLITS = ("validation", "test")


def make_scores(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """The evidence lower bound of the real validation and test splits, in nats per image, and its two parts."""
    architecture, batch_size = stage.model.architecture, stage.execution.scoring_batch_size(IMAGE_BYTES)
    splits = [
        NoisyImages.draw(read_images(context.parents["real"], split), architecture.latents, within(stream, split))
        for split in REAL_SPLITS
    ]
    loaders = [in_order_together(split, batch_size) for split in splits]
    module = ScoringModule(load_network(architecture, context.parents["model"] / NETWORK_FILE), len(loaders))
    steps = sum(map(len, loaders))
    with stage_bar(context.artifact.label, steps, stage.execution.console) as bar:
        stage.execution.trainer([BatchProgress(bar)]).test(module, loaders, verbose=False)
    metrics: dict[str, float] = {}
    for index, split in enumerate(REAL_SPLITS):
        reconstruction, kl = module.losses_of(index).means()
        metrics |= {
            f"{split}/elbo": -(reconstruction + kl),
            f"{split}/reconstruction": reconstruction,
            f"{split}/kl": kl,
            f"{split}/images": len(splits[index].images),
        }
    write_metrics(context.folder, metrics)
    _keep_training_lines(context)
    context.execution.update(stage.execution.facts(batch_size=batch_size))


def _keep_training_lines(context: BuildContext) -> None:
    """Copy the fit's lines here: weights may be removed to save disk, the record is still to be rebuilt."""
    lines = context.parents["model"] / TRAINING_FILE
    (context.folder / TRAINING_FILE).write_bytes(lines.read_bytes())


def make_measures(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """How samples differ from real test images: in the reference's latents, in feature space, in their classes."""
    samples = _samples(stage, context, stream)
    real = read_images(context.parents["real"], "test")[: stage.model.evaluation.samples]
    sample_latents, real_latents = (_latent_means(stage, context, images) for images in (samples, real))
    metrics = {"latent_mean": float(sample_latents.mean()), "latent_spread": float(sample_latents.std())}
    metrics["samples"] = len(samples)
    metrics |= _feature_metrics(stage, context, real, samples)
    metrics = {f"synthetic/{name}": value for name, value in metrics.items()}
    metrics["real/latent_mean"] = float(real_latents.mean())
    metrics["real/latent_spread"] = float(real_latents.std())
    accuracy = read_metrics(context.parents["classifier"])["test/accuracy"]
    write_metrics(context.folder, {**metrics, "classifier/test_accuracy": accuracy})
    shown = stage.model.evaluation.shown
    measured = {"sample_latents": sample_latents, "real_latents": real_latents}
    measured |= {"samples": samples[:shown].half(), "real": real[:shown].half()}
    write_measured(context.folder, measured)
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


def _feature_metrics(
    stage: StageContext, context: BuildContext, real: torch.Tensor, samples: torch.Tensor
) -> dict[str, float]:
    classifier = load_classifier(context.parents["classifier"])
    (real_features, _), (features, logits) = (
        apply(classifier, as_intensities(images), stage.execution, context.artifact.label) for images in (real, samples)
    )
    manifolds = precision_and_recall(real_features, features, stage.model.evaluation.neighbours)
    shares = class_shares(logits)
    return {
        "kid": kernel_inception_distance(real_features, features),
        "precision": manifolds.precision,
        "recall": manifolds.recall,
        "class_entropy": entropy(shares),
        "classifier_confidence": confidence(logits),
        **{f"class_share/{number}": float(share) for number, share in enumerate(shares)},
    }


SPLITS = ("train", "validation", "test")


def make_classifier(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """Train the classifier on the real training split, keep its best epoch, scale its features, and test it."""
    real, settings = context.parents["real"], stage.model.classifier
    splits = {split: LabelledImages(read_images(real, split), read_labels(real, split)) for split in SPLITS}
    classes = 1 + max(int(part.labels.max()) for part in splits.values())

    def assemble(execution: Execution, share: Share) -> tuple[ClassifierModule, LabelledDataModule]:
        with within(stream, "weights").global_rng():
            module = ClassifierModule(Classifier(classes), classes, settings)
        rows = len(splits["train"].images)
        sampler = EpochSampler(rows, rows, settings.batch_size, within(stream, "order"))
        batch_size = execution.scoring_batch_size(IMAGE_BYTES)
        return module, LabelledDataModule(splits["train"], splits["validation"], sampler, batch_size)

    # On one device, whatever the settings: it takes seconds.
    fit = Fit(assemble, settings.epochs, True, None, within(stream, "noise"), context.artifact.label)
    progress = Progress.of(context)
    module, _, lines = fit_resumably(fit, execution=stage.execution, progress=progress, on_epoch=_ignore)
    features, _ = apply(module.network, as_intensities(splits["train"].images), stage.execution, "classifier · scale")
    # KID's kernel has a scale of its own: mean square 1 makes its values comparable between classifiers.
    module.network.divide_features(float(features.square().mean().sqrt()))
    publish_fit(stage, context, module.network, lines, settings.batch_size, fit.devices)
    _, logits = apply(module.network, as_intensities(splits["test"].images), stage.execution, "classifier · test")
    accuracy = float((logits.argmax(1) == splits["test"].labels).double().mean())
    write_metrics(context.folder, {"classes": classes, "test/accuracy": accuracy})


def load_classifier(folder: Path) -> Classifier:
    """The classifier of a finished artifact."""
    classifier = Classifier(int(read_metrics(folder)["classes"]))
    load_model(classifier, folder / NETWORK_FILE)
    return classifier


def _ignore(line: Mapping[str, float]) -> None:
    """The classifier's epochs belong to no generation."""
