"""One epoch of the paper's VAE on MNIST: the project's fit against a plain PyTorch loop over a tensor in memory.

Both train for one epoch and pass once over the validation split. They take turns, and each turn gives a ratio of
processor times: its median tells little of what else the machine does. What an epoch costs does not depend on the
pixels: without --data they are random ones, as many as MNIST has. With --rows an epoch is shorter and turns change more
often.

    python benchmarks/vae.py --data FOLDER_WITH_IDX_FILES
    python benchmarks/vae.py --quick
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from modelcollapse.data.batches import EpochSampler
from modelcollapse.data.image_batches import DrawingSampler, ImagesDataModule, NoisyImages, TrainingImages
from modelcollapse.data.images import ImageFiles, LabelledImages, as_intensities
from modelcollapse.data.settings import ImagesDataSettings
from modelcollapse.families.vae.module import FittingModule
from modelcollapse.families.vae.network import Decoder, VariationalAutoencoder
from modelcollapse.families.vae.settings import VaeArchitectureSettings, VaeTrainingSettings
from modelcollapse.seeding import Stream
from modelcollapse.training.fit import Fit, fit_resumably
from modelcollapse.training.settings import TrainerSettings
from modelcollapse.training.trainer import Execution, prepare_process
from modelcollapse.training.verified_files import Progress

ARCHITECTURE = VaeArchitectureSettings(channels=64, latents=20)
TRAINING = VaeTrainingSettings(
    epochs=1,
    generation0_epochs=None,
    epoch_size="training_set",
    batch_size=256,
    learning_rate=1e-3,
    weight_decay=1e-5,
    gradient_clip=None,
    checkpoint="last",
)
VALIDATION_ROWS = 5000
MNIST_ROWS = 60000
QUICK_BATCHES = 8


def main() -> None:
    """Time what the command line asks for, and print a table."""
    arguments = _arguments()
    settings = TrainerSettings(
        accelerator="cpu",
        precision=arguments.precision,
        threads=arguments.threads,
        scoring_batch_size=TRAINING.batch_size,
        progress=False,
    )
    prepare_process(settings)
    execution = Execution(settings, None)
    training, validation = _images(arguments.data, arguments.quick)
    training = training[: arguments.rows]
    contestants: dict[str, Callable[[], float]] = {
        "plain loop": lambda: plain_epoch(training, validation, arguments.precision),
        "modelcollapse": lambda: fitted_epoch(training, validation, execution, streamed=False),
        "modelcollapse, streamed": lambda: fitted_epoch(training, validation, execution, streamed=True),
    }
    times = take_turns(contestants, 3 if arguments.quick else arguments.repeats)
    print(f"{len(training)} images, {arguments.precision}, {torch.get_num_threads()} threads, one epoch and validation")
    turns = len(times["plain loop"])
    print(f"{'':26}{'processor s':>12}{'wall s':>10}{'ratio':>8}{'lowest':>8}{'highest':>8}  (medians, {turns} turns)")
    for name, measured in times.items():
        processor, wall = _medians(measured)
        ratios = [own[0] / plain[0] for own, plain in zip(measured, times["plain loop"], strict=True)]
        spread = f"{statistics.median(ratios):8.3f}{min(ratios):8.3f}{max(ratios):8.3f}"
        print(f"{name:26}{processor:12.2f}{wall:10.2f}{spread}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with MNIST's idx files")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_BATCHES} batches, 3 repeats")
    parser.add_argument("--rows", type=int, help="training images of an epoch; all of them unless told")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    return parser.parse_args()


def _images(folder: Path | None, quick: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Training and validation images in grey levels."""
    rows = QUICK_BATCHES * TRAINING.batch_size if quick else MNIST_ROWS - VALIDATION_ROWS
    if folder is None:
        everything = torch.randint(0, 256, (rows + VALIDATION_ROWS, 28, 28), dtype=torch.uint8)
        training, validation = everything[:rows], everything[rows:]
    else:
        data = ImagesDataSettings(
            kind="images",
            name="MNIST",
            path=str(folder),
            revision=None,
            image_column="image",
            label_column="label",
            train_rows=rows,
            validation_rows=VALIDATION_ROWS,
            test_rows=None,
            reserve=0.0,
        )
        splits: dict[str, LabelledImages] = ImageFiles(data).splits()
        training, validation = splits["train"].images, splits["validation"].images
    return training, validation[: TRAINING.batch_size] if quick else validation


def plain_epoch(training: torch.Tensor, validation: torch.Tensor, precision: str) -> float:
    """What one would otherwise write: a loop over a shuffled tensor of intensities in memory."""
    images, held_out = as_intensities(training), as_intensities(validation)
    network = VariationalAutoencoder(ARCHITECTURE)
    optimiser = torch.optim.Adam(network.parameters(), lr=TRAINING.learning_rate, weight_decay=TRAINING.weight_decay)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed")
    for rows in torch.randperm(len(images)).split(TRAINING.batch_size):
        with autocast:
            reconstruction, kl = network.losses(images[rows])
        optimiser.zero_grad()
        (reconstruction + kl).sum().backward()
        optimiser.step()
    total = 0.0
    with torch.no_grad(), autocast:
        for batch in held_out.split(TRAINING.batch_size):
            total += sum(float(part.sum()) for part in network.losses(batch))
    return total / len(held_out)


def fitted_epoch(training: torch.Tensor, validation: torch.Tensor, execution: Execution, streamed: bool) -> float:
    """The project's fit of one epoch, checkpoint and all; or one whose images a decoder draws, batch by batch."""
    held = training[:0] if streamed else training
    weights = torch.ones(len(training))
    order = EpochSampler(len(training), len(training), TRAINING.batch_size, Stream(0, 0, "benchmark.order"))
    latents, noise = (Stream(0, 0, f"benchmark.{name}") for name in ("latents", "noise"))
    sampler = DrawingSampler(order, len(held), ARCHITECTURE.latents, latents, noise)
    noisy = NoisyImages.draw(validation, ARCHITECTURE.latents, Stream(0, 0, "benchmark.validation"))
    data = ImagesDataModule(TrainingImages(held, weights), noisy, sampler, TRAINING.batch_size)
    parent = Decoder(ARCHITECTURE).requires_grad_(False) if streamed else None
    module = FittingModule(VariationalAutoencoder(ARCHITECTURE), TRAINING, 1.0, parent)
    fit = Fit(lambda execution, rank: (module, data), 1, False, None, noise, "epoch")
    with TemporaryDirectory() as folder:
        progress = Progress(Path(folder), "benchmark", lambda path, fault: None)
        fit_resumably(fit, execution=execution, progress=progress, on_epoch=lambda line: None)
    return module.validation_value()


def take_turns(contestants: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Processor and wall seconds of every contestant, one after the other, over again; a first round warms up."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, run in contestants.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            if turn > 0:
                times[name].append((time.process_time() - processor, time.perf_counter() - wall))
    return times


def _medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    processor, wall = zip(*times, strict=True)
    return statistics.median(processor), statistics.median(wall)


if __name__ == "__main__":
    main()
