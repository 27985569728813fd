"""Fine-tuning steps of a network of OPT-125m's shape: the project's fit against a plain Hugging Face Trainer.

Every contestant trains random weights on random blocks of 64 tokens in a process of its own, so that its peak memory is
its own; processes take turns, one at a time, and a first step warms each up. Compared are medians of the processor time
of a step and of the peak memory. A step costs the same throughout an epoch: WikiText-2 has 287 of them at batch 128.

Beside the plain Trainer stands one with the project's allocator settings, which tells what they alone are worth.
Lightning's share is what it adds to a loop of five lines around the same module, for a step of a tiny network, where it
shows, over the project's step of the real one.

    python benchmarks/training.py --precision bf16-mixed
    python benchmarks/training.py --device cuda --precision bf16-mixed
    python benchmarks/training.py --contestants trainer project --steps 1 --repeats 1
    python benchmarks/training.py --quick

With --device cuda, time is on the wall and memory the GPU's.

Needs accelerate, which the Hugging Face Trainer asks for: pip install '.[benchmarks]'.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning import Callback
from transformers import OPTConfig, OPTForCausalLM, Trainer, TrainerCallback, TrainingArguments

from modelcollapse.data.batches import EpochSampler
from modelcollapse.data.block_batches import BlocksDataModule
from modelcollapse.families.language_model.module import FittingModule
from modelcollapse.families.language_model.settings import TrainingSettings
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.training.processes import keep_freed_memory
from modelcollapse.training.settings import TrainerSettings
from modelcollapse.training.trainer import Execution, prepare_process

LENGTH = 64
LABELS = {
    "trainer": "Hugging Face Trainer",
    "tuned": "the same, allocator tuned",
    "project": "modelcollapse",
}
TINY = {"hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 64,
        "vocab_size": 256}  # fmt: skip
TINY_BATCH, TINY_STEPS = 8, 200
PRECISIONS = ("32-true", "bf16-mixed")
QUICK = {"batch_size": 4, "steps": 2, "repeats": 1, "precision": "32-true"}


def main() -> None:
    """Measure what the command line asks for, and print a table for each precision."""
    arguments = _arguments()
    if arguments.contestant:
        print(json.dumps(measured(arguments)))
        return
    for precision in PRECISIONS if arguments.precision is None else [arguments.precision]:
        results: dict[str, list[dict[str, float]]] = {}
        for _ in range(arguments.repeats):
            for name in arguments.contestants:
                results.setdefault(name, []).append(_in_a_process(arguments, name, precision))
        _print_table(arguments, precision, results)
        if "project" in results:
            _print_share_of_lightning(arguments, precision, results["project"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batch 4, 2 steps, one turn, float32")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each process")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each contestant")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, help="only this one")
    parser.add_argument("--contestants", nargs="+", choices=[*LABELS], default=[*LABELS])
    parser.add_argument("--contestant", choices=[*CONTESTANTS], help=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        parser.set_defaults(**QUICK)
        arguments = parser.parse_args()
    return arguments


def _in_a_process(arguments: argparse.Namespace, name: str, precision: str, tiny: bool = False) -> dict[str, float]:
    command = [sys.executable, __file__, "--contestant", name, "--precision", precision]
    command += [f"--threads={arguments.threads}", f"--device={arguments.device}"]
    if tiny:
        command += ["--tiny", f"--batch-size={TINY_BATCH}", f"--steps={TINY_STEPS}"]
    else:
        command += [f"--batch-size={arguments.batch_size}", f"--steps={arguments.steps}"]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return result


def measured(arguments: argparse.Namespace) -> dict[str, float]:
    """Median time of a step in seconds, the processor's or with a GPU on the wall, and peak memory in GB."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = OPTForCausalLM(OPTConfig(**TINY) if arguments.tiny else OPTConfig())
    blocks = torch.randint(0, network.config.vocab_size, (arguments.batch_size * (arguments.steps + 1), LENGTH))
    stops: list[float] = []
    CONTESTANTS[arguments.contestant](arguments, network, blocks, lambda: stops.append(_seconds(arguments.device)))
    steps = [after - before for before, after in pairwise(stops)]
    assert len(steps) == arguments.steps
    return {"seconds": statistics.median(steps), "peak": _peak(arguments.device) / 1e9}


def _seconds(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _peak(device: str) -> int:
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return torch.cuda.max_memory_reserved()


def fit_by_trainer(
    arguments: argparse.Namespace, network: OPTForCausalLM, blocks: torch.Tensor, step_ended: Callable[[], None]
) -> None:
    """What one would otherwise write: transformers' own Trainer, its defaults but for logs and checkpoints."""

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            step_ended()

    with TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=arguments.batch_size,
            num_train_epochs=1,
            learning_rate=2e-5,
            weight_decay=0.01,
            bf16=arguments.precision == "bf16-mixed",
            use_cpu=arguments.device == "cpu",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        rows: Any = [{"input_ids": block, "labels": block} for block in blocks]
        Trainer(network, settings, train_dataset=rows, callbacks=[Clock()]).train()


def fit_by_tuned_trainer(*arguments: Any) -> None:
    """The Trainer in a process that keeps what it frees."""
    keep_freed_memory()
    fit_by_trainer(*arguments)


def fit_by_the_project(
    arguments: argparse.Namespace, network: OPTForCausalLM, blocks: torch.Tensor, step_ended: Callable[[], None]
) -> None:
    """The module and data module of a generation's fit in the project's trainer."""

    class Clock(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            step_ended()

    execution, module, data = _parts(arguments, network, blocks)
    execution.trainer([Clock()], 1).fit(module, data.train_dataloader())


def fit_by_a_loop(
    arguments: argparse.Namespace, network: OPTForCausalLM, blocks: torch.Tensor, step_ended: Callable[[], None]
) -> None:
    """The same module and batches in a loop of five lines."""
    execution, module, data = _parts(arguments, network.to(arguments.device), blocks)
    module.trainer = execution.trainer(())
    module.setup("fit")
    module.on_train_epoch_start()
    configured = module.configure_optimizers()
    optimiser, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    mixed = torch.autocast(arguments.device, torch.bfloat16, arguments.precision == "bf16-mixed", cache_enabled=False)
    for batch in data.train_dataloader():
        optimiser.zero_grad()
        with mixed:
            loss = module.training_step(move_data_to_device(batch, arguments.device))
        loss.backward()
        optimiser.step()
        schedule.step()
        step_ended()


def _parts(
    arguments: argparse.Namespace, network: OPTForCausalLM, blocks: torch.Tensor
) -> tuple[Execution, FittingModule, BlocksDataModule]:
    accelerator: Literal["cpu", "gpu"] = "cpu" if arguments.device == "cpu" else "gpu"
    settings = TrainerSettings(accelerator, arguments.precision, arguments.threads, None, False)
    prepare_process(settings)
    training = TrainingSettings(
        epochs=1,
        generation0_epochs=None,
        epoch_size="training_set",
        batch_size=arguments.batch_size,
        gradient_clip=None,
        checkpoint="last",
        learning_rate=2e-5,
        final_learning_rate=1e-6,
        schedule=Choice("schedules", "cosine_per_epoch"),
        warmup_steps=0,
        weight_decay=0.01,
    )
    sampler = EpochSampler(len(blocks), len(blocks), arguments.batch_size, Stream(0, 0, "benchmark.order"))
    data = BlocksDataModule(blocks.int(), torch.ones(len(blocks)), blocks[:1].int(), sampler, 1)
    execution = Execution(settings, None)
    return execution, FittingModule(network, training, 1, len(sampler)), data


CONTESTANTS: dict[str, Callable[..., None]] = {
    "trainer": fit_by_trainer,
    "tuned": fit_by_tuned_trainer,
    "project": fit_by_the_project,
    "loop": fit_by_a_loop,
}


def _print_table(arguments: argparse.Namespace, precision: str, results: dict[str, list[dict[str, float]]]) -> None:
    print(
        f"\n{precision}, batch {arguments.batch_size}, {arguments.threads} threads; medians of {arguments.repeats}"
        f" processes, each the median of {arguments.steps} steps"
    )
    clock = "processor" if arguments.device == "cpu" else "wall"
    print(f"{'':28}{f'{clock} s a step':>20}{'range':>16}{'speed':>8}{'peak GB':>10}{'share':>8}", flush=True)
    medians = {
        name: {part: statistics.median(run[part] for run in runs) for part in ("seconds", "peak")}
        for name, runs in results.items()
    }
    reference = medians[arguments.contestants[0]]
    for name, median in medians.items():
        seconds = [run["seconds"] for run in results[name]]
        spread = f"{min(seconds):.2f} - {max(seconds):.2f}"
        speed, share = reference["seconds"] / median["seconds"], median["peak"] / reference["peak"]
        print(f"{LABELS[name]:28}{median['seconds']:20.2f}{spread:>16}{speed:8.2f}{median['peak']:10.2f}{share:8.0%}")


def _print_share_of_lightning(arguments: argparse.Namespace, precision: str, runs: list[dict[str, float]]) -> None:
    tiny = {name: _in_a_process(arguments, name, precision, tiny=True)["seconds"] for name in ("project", "loop")}
    added, step = tiny["project"] - tiny["loop"], statistics.median(run["seconds"] for run in runs)
    print(f"Lightning adds {1000 * added:.1f} ms to a step, {added / step:.2%} of it", flush=True)


if __name__ == "__main__":
    main()
