"""The classifier that samples are measured with: trained once on the real data."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_model

from modelcollapse.data.batches import EpochSampler, Share
from modelcollapse.data.images import LabelledDataModule, LabelledImages, as_intensities, read_images, read_labels
from modelcollapse.execution.fit import Fit, fit_resumably
from modelcollapse.execution.resuming import Progress
from modelcollapse.execution.trainer import Execution
from modelcollapse.models.stages import within
from modelcollapse.models.vae.applying import apply
from modelcollapse.models.vae.bench import Bench
from modelcollapse.models.vae.files import NETWORK_FILE
from modelcollapse.models.vae.module import ClassifierModule
from modelcollapse.models.vae.network import IMAGE_BYTES, Classifier
from modelcollapse.models.vae.publishing import publish_fit, read_metrics, write_metrics
from modelcollapse.seeding import Stream
from modelcollapse.store import Workshop

SPLITS = ("train", "validation", "test")


def make_classifier(bench: Bench, workshop: Workshop, *, stream: Stream) -> None:
    """Train the classifier on the real training split, keep its best epoch, scale its features, and test it."""
    real, settings = workshop.parents["real"], bench.model.classifier
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
    fit = Fit(assemble, settings.epochs, True, None, within(stream, "noise"), workshop.piece.label)
    progress = Progress.of(workshop)
    module, _, lines = fit_resumably(fit, execution=bench.execution, progress=progress, on_epoch=_ignore)
    features, _ = apply(module.network, as_intensities(splits["train"].images), bench.execution, "classifier · scale")
    # KID's kernel has a scale of its own: mean square 1 makes its values comparable between classifiers.
    module.network.divide_features(float(features.square().mean().sqrt()))
    publish_fit(bench, workshop, module.network, lines, settings.batch_size, fit.devices)
    _, logits = apply(module.network, as_intensities(splits["test"].images), bench.execution, "classifier · test")
    accuracy = float((logits.argmax(1) == splits["test"].labels).double().mean())
    write_metrics(workshop.folder, {"classes": classes, "test/accuracy": accuracy})


def load_classifier(folder: Path) -> Classifier:
    """The classifier of a finished piece."""
    classifier = Classifier(int(read_metrics(folder)["classes"]))
    load_model(classifier, folder / NETWORK_FILE)
    return classifier


def _ignore(line: Mapping[str, float]) -> None:
    """The classifier's epochs belong to no generation."""
