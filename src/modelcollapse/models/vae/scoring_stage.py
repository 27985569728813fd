"""Stages that score: a VAE on the real splits, and what it draws under the reference encoder and the classifier."""

import torch

from modelcollapse.data.batches import in_order_together
from modelcollapse.data.images import NoisyImages, as_intensities, read_images
from modelcollapse.execution.progress import BatchProgress, stage_bar
from modelcollapse.metrics.images import (
    class_shares,
    confidence,
    entropy,
    kernel_inception_distance,
    precision_and_recall,
)
from modelcollapse.models.stages import within
from modelcollapse.models.vae.applying import apply, draw
from modelcollapse.models.vae.bench import Bench
from modelcollapse.models.vae.classifier_stage import load_classifier
from modelcollapse.models.vae.files import DECODER_FILE, NETWORK_FILE, TRAINING_FILE
from modelcollapse.models.vae.module import ScoringModule
from modelcollapse.models.vae.network import IMAGE_BYTES, load_decoder, load_network
from modelcollapse.models.vae.publishing import read_metrics, write_measured, write_metrics
from modelcollapse.seeding import Stream
from modelcollapse.store import Workshop

REAL_SPLITS = ("validation", "test")


def make_scores(bench: Bench, workshop: Workshop, *, stream: Stream) -> None:
    """The evidence lower bound of the real validation and test splits, in nats per image, and its two parts."""
    architecture, batch_size = bench.model.architecture, bench.execution.scoring_batch_size(IMAGE_BYTES)
    splits = [
        NoisyImages.draw(read_images(workshop.parents["real"], split), architecture.latents, within(stream, split))
        for split in REAL_SPLITS
    ]
    loaders = [in_order_together(split, batch_size) for split in splits]
    module = ScoringModule(load_network(architecture, workshop.parents["model"] / NETWORK_FILE), len(loaders))
    steps = sum(map(len, loaders))
    with stage_bar(workshop.piece.label, steps, bench.execution.console) as bar:
        bench.execution.trainer([BatchProgress(bar)]).test(module, loaders, verbose=False)
    metrics: dict[str, float] = {}
    for index, split in enumerate(REAL_SPLITS):
        reconstruction, kl = module.losses_of(index).means()
        metrics |= {
            f"{split}/elbo": -(reconstruction + kl),
            f"{split}/reconstruction": reconstruction,
            f"{split}/kl": kl,
            f"{split}/images": len(splits[index].images),
        }
    write_metrics(workshop.folder, metrics)
    _keep_training_lines(workshop)
    workshop.execution.update(bench.execution.facts(batch_size=batch_size))


def _keep_training_lines(workshop: Workshop) -> None:
    """Copy the fit's lines here: weights may be removed to save disk, the record is still to be rebuilt."""
    lines = workshop.parents["model"] / TRAINING_FILE
    (workshop.folder / TRAINING_FILE).write_bytes(lines.read_bytes())


def make_measures(bench: Bench, workshop: Workshop, *, stream: Stream) -> None:
    """How samples differ from real test images: in the reference's latents, in feature space, in their classes."""
    samples = _samples(bench, workshop, stream)
    real = read_images(workshop.parents["real"], "test")[: bench.model.evaluation.samples]
    sample_latents, real_latents = (_latent_means(bench, workshop, images) for images in (samples, real))
    metrics = {"latent_mean": float(sample_latents.mean()), "latent_spread": float(sample_latents.std())}
    metrics["samples"] = len(samples)
    metrics |= _feature_metrics(bench, workshop, real, samples)
    metrics = {f"synthetic/{name}": value for name, value in metrics.items()}
    metrics["real/latent_mean"] = float(real_latents.mean())
    metrics["real/latent_spread"] = float(real_latents.std())
    accuracy = read_metrics(workshop.parents["classifier"])["test/accuracy"]
    write_metrics(workshop.folder, {**metrics, "classifier/test_accuracy": accuracy})
    shown = bench.model.evaluation.shown
    measured = {"sample_latents": sample_latents, "real_latents": real_latents}
    measured |= {"samples": samples[:shown].half(), "real": real[:shown].half()}
    write_measured(workshop.folder, measured)
    workshop.execution.update(bench.execution.facts(batch_size=bench.execution.scoring_batch_size(IMAGE_BYTES)))


def _samples(bench: Bench, workshop: Workshop, stream: Stream) -> torch.Tensor:
    """The first images of a stored set, or as many from the decoder that the set is streamed from."""
    folder, count = workshop.parents["synthetic"], bench.model.evaluation.samples
    if bench.model.synthesis == "fixed":
        return read_images(folder, "train")[:count]
    decoder = load_decoder(bench.model.architecture, folder / DECODER_FILE)
    latents = torch.randn(count, bench.model.architecture.latents, generator=stream.torch())
    return draw(decoder, latents, bench.execution, workshop.piece.label)


def _latent_means(bench: Bench, workshop: Workshop, images: torch.Tensor) -> torch.Tensor:
    """Posterior means [rows, latents] of the first images under the reference model's encoder."""
    reference = load_network(bench.model.architecture, workshop.parents["reference"] / NETWORK_FILE)
    rows = as_intensities(images[: bench.model.evaluation.latent_samples])
    means, _ = apply(reference.encoder, rows, bench.execution, workshop.piece.label)
    return means


def _feature_metrics(bench: Bench, workshop: Workshop, real: torch.Tensor, samples: torch.Tensor) -> dict[str, float]:
    classifier = load_classifier(workshop.parents["classifier"])
    (real_features, _), (features, logits) = (
        apply(classifier, as_intensities(images), bench.execution, workshop.piece.label) for images in (real, samples)
    )
    manifolds = precision_and_recall(real_features, features, bench.model.evaluation.neighbours)
    shares = class_shares(logits)
    return {
        "kid": kernel_inception_distance(real_features, features),
        "precision": manifolds.precision,
        "recall": manifolds.recall,
        "class_entropy": entropy(shares),
        "classifier_confidence": confidence(logits),
        **{f"class_share/{number}": float(share) for number, share in enumerate(shares)},
    }
