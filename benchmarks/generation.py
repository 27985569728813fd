"""One generation of the paper's experiment at reduced size: train.py against a script of the usual kind.

Both take the same random weights of OPT-125m's shape, the same text, 5 epochs, 5 beams, 64 new tokens after 64, and the
same precision. Each runs in a process of its own, one after the other, over again; compared are medians of the
processor time of the whole process, start included. The script is what one would otherwise write: a LightningModule
around the model, items collated one by one, Lightning's checkpoints, `generate` batch by batch, and a file at the end.

train.py does more for its time: it scores the start, two splits and what was written, measures, records and draws.
How long it fits, scores and writes on the wall, and what share of its time is none of them, is told beside it. With a
GPU everything is by the clock on the wall; --blocks 37000 is the paper's size.

    python benchmarks/generation.py --precision bf16
    python benchmarks/generation.py --device cuda --precision bf16 --blocks 37000 --repeats 1
    python benchmarks/generation.py --quick
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LENGTH, EPOCHS, BEAMS, LEARNING_RATE, LAST_LEARNING_RATE = 64, 5, 5, 2e-5, 1e-6
PRECISIONS = {
    "fp32": ("trainer.precision=32-true", "decoding.precision=32-true"),
    "bf16": ("trainer.precision=bf16-mixed", "decoding.precision=bf16-true"),
}
SHAPES = {
    "opt-125m": {},
    "small": {"hidden_size": 256, "word_embed_proj_dim": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
              "ffn_dim": 1024, "vocab_size": 8000},
}  # fmt: skip
STAGES_OF_WORK = {
    "fit": ("model",),
    "score": ("scores", "measures", "zero_shot"),
    "synthesis": ("synthetic", "continuations"),
}
"""Roles of the artifacts that are fitted, scored or written."""
ACCELERATORS = {"cpu": ("trainer.accelerator=cpu",),
                "cuda": ("trainer.accelerator=gpu", "decoding.engine=native", "decoding.batch_size=512",
                         "decoding.memory_gb=40")}  # fmt: skip
QUICK = {"shape": "small", "blocks": 64, "batch_size": 32, "repeats": 1}


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    processor: float
    wall: float
    peak: float
    """Gigabytes of the machine's own memory."""


def main() -> None:
    """Run both sides by turns, and print a table for each precision."""
    arguments = _arguments()
    if arguments.script:
        usual_script(Path(arguments.script), arguments)
        return
    with TemporaryDirectory() as place:
        prepare(Path(place), arguments)
        for precision in PRECISIONS if arguments.precision is None else [arguments.precision]:
            costs: dict[str, list[Cost]] = {"script": [], "train.py": []}
            work: list[dict[str, float]] = []
            for turn in range(arguments.repeats):
                options = ("device", "blocks", "batch_size", "decoding_batch_size", "threads", "repetition_penalty")
                values = [f"--{name.replace('_', '-')}={getattr(arguments, name)}" for name in options]
                script = [sys.executable, __file__, f"--script={place}", f"--precision={precision}", *values]
                costs["script"].append(_cost(script, arguments))
                run = Path(place) / f"run-{precision}-{turn}"
                costs["train.py"].append(_cost(_train_command(Path(place), run, precision, arguments), arguments))
                work.append(_seconds_of_work(run))
            _print_table(precision, costs, work, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small OPT, 64 blocks, one turn")
    parser.add_argument("--shape", choices=[*SHAPES], default="opt-125m")
    parser.add_argument("--blocks", type=int, default=256, help="real blocks, and prompts")
    parser.add_argument("--batch-size", type=int, default=128, help="blocks of an optimiser step")
    parser.add_argument("--decoding-batch-size", type=int, help="the script's: 16, or 256 on a GPU, unless told")
    parser.add_argument("--device", choices=[*ACCELERATORS], default="cpu")
    parser.add_argument("--repetition-penalty", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=[*PRECISIONS], help="only this one")
    parser.add_argument("--script", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        parser.set_defaults(**QUICK)
        arguments = parser.parse_args()
    arguments.decoding_batch_size = arguments.decoding_batch_size or (16 if arguments.device == "cpu" else 256)
    return arguments


def prepare(place: Path, arguments: argparse.Namespace) -> None:
    """Write the weights, their tokenizer and the text that both sides take."""
    import torch
    from transformers import OPTConfig, OPTForCausalLM

    from modelcollapse.data.language import HiddenMarkovLanguage
    from modelcollapse.data.settings import LanguageSettings
    from modelcollapse.data.tokenizers import train_byte_pairs
    from modelcollapse.seeding import Stream

    language = HiddenMarkovLanguage(LanguageSettings(topics=8))
    for number, (split, blocks) in enumerate(_split_sizes(arguments.blocks).items()):
        words = language.sample(blocks, 2 * LENGTH, Stream(number, 0, "benchmark.text").numpy())
        lines = (" ".join(language.vocabulary[word] for word in line) for line in words)
        (place / f"{split}.txt").write_text("\n".join(lines) + "\n")
    tokenizer = train_byte_pairs((place / "train.txt").read_text().splitlines(), 1000)
    tokenizer.save_pretrained(place / "weights")
    torch.manual_seed(0)
    OPTForCausalLM(OPTConfig(**SHAPES[arguments.shape])).save_pretrained(place / "weights")


def _split_sizes(blocks: int) -> dict[str, int]:
    return {"train": blocks, "validation": max(blocks // 10, 1), "test": max(blocks // 10, 1)}


def _train_command(place: Path, run: Path, precision: str, arguments: argparse.Namespace) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "train.py"),
        "experiment=paper_opt",
        "generations=0",
        f"model.pretrained={place / 'weights'}",
        "data=text_files",
        *(f"data.{split}={place / split}.txt" for split in ("train", "validation", "test")),
        f"data.train_blocks={arguments.blocks}",
        f"data.evaluation_blocks={max(arguments.blocks // 10, 1)}",
        f"model.training.batch_size={arguments.batch_size}",
        f"decoding.repetition_penalty={arguments.repetition_penalty}",
        *PRECISIONS[precision],
        *ACCELERATORS[arguments.device],
        f"trainer.threads={arguments.threads}",
        "trainer.progress=false",
        "tracking=none",
        f"paths.store={run / 'store'}",
        f"hydra.run.dir={run / 'outputs'}",
    ]


def _cost(command: list[str], arguments: argparse.Namespace) -> Cost:
    """What a command takes, all its processes together. Raises CalledProcessError where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    wall = time.perf_counter() - started
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024 / 1e9)


def _seconds_of_work(run: Path) -> dict[str, float]:
    """Seconds on the wall that the run spent fitting, scoring and writing."""
    lines = (run / "outputs" / "timings.jsonl").read_text().splitlines()
    timings = [json.loads(line) for line in lines]
    return {
        work: sum(float(timing["seconds"]) for timing in timings if timing["stage"] in stages)
        for work, stages in STAGES_OF_WORK.items()
    }


def _print_table(
    precision: str, costs: dict[str, list[Cost]], work: list[dict[str, float]], arguments: argparse.Namespace
) -> None:
    clock = "processor" if arguments.device == "cpu" else "wall"
    print(
        f"\n{precision}, {arguments.shape}, {arguments.blocks} blocks, {EPOCHS} epochs at batch {arguments.batch_size},"
        f" {arguments.device}, {arguments.threads} threads; medians of {arguments.repeats}"
    )
    print(f"{'':12}{f'{clock} s':>13}{'range':>18}{'speed':>8}{'peak GB':>10}")
    reference = statistics.median(getattr(cost, clock) for cost in costs["script"])
    for name, measured in costs.items():
        seconds = [getattr(cost, clock) for cost in measured]
        spread = f"{min(seconds):.1f} - {max(seconds):.1f}"
        median, peak = statistics.median(seconds), statistics.median(cost.peak for cost in measured)
        print(f"{name:12}{median:13.1f}{spread:>18}{reference / median:8.2f}{peak:10.2f}")
    parts = ", ".join(f"{name} {statistics.median(each[name] for each in work):.1f}" for name in STAGES_OF_WORK)
    rest = [1 - sum(each.values()) / cost.wall for each, cost in zip(work, costs["train.py"], strict=True)]
    print(f"train.py on the wall, s: {parts}; none of them: {statistics.median(rest):.1%} of its time", flush=True)


def usual_script(place: Path, arguments: argparse.Namespace) -> None:
    """What one would otherwise write for the same experiment."""
    import pytorch_lightning
    import torch
    from safetensors.torch import save_file
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer, OPTForCausalLM

    torch.set_num_threads(arguments.threads)
    pytorch_lightning.seed_everything(0)
    mixed = arguments.precision == "bf16"

    class LanguageModel(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = OPTForCausalLM.from_pretrained(place / "weights")

        def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            loss: torch.Tensor = self.model(**batch, labels=batch["input_ids"]).loss
            return loss

        def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
            return self.loss(batch)

        def validation_step(self, batch: dict[str, torch.Tensor], index: int) -> None:
            self.log("val_loss", self.loss(batch), batch_size=len(batch["input_ids"]))

        def test_step(self, batch: dict[str, torch.Tensor], index: int) -> None:
            self.log("test_loss", self.loss(batch), batch_size=len(batch["input_ids"]))

        def configure_optimizers(self) -> Any:
            optimiser = torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS, eta_min=LAST_LEARNING_RATE)
            return [optimiser], [schedule]

    tokenizer = AutoTokenizer.from_pretrained(place / "weights")

    def loader(split: str, shuffle: bool = False) -> DataLoader[Any]:
        ids: list[int] = []
        for line in (place / f"{split}.txt").read_text().splitlines():
            ids += tokenizer(line)["input_ids"]
        blocks = [ids[start : start + LENGTH] for start in range(0, len(ids) - LENGTH + 1, LENGTH)]
        items = [
            {"input_ids": torch.tensor(block), "attention_mask": torch.ones(LENGTH, dtype=torch.long)}
            for block in blocks[: _split_sizes(arguments.blocks)[split]]
        ]
        return DataLoader(items, batch_size=arguments.batch_size, shuffle=shuffle)

    def perplexity(module: LanguageModel, batches: DataLoader[Any]) -> float:
        (result,) = trainer.test(module, batches, verbose=False)
        return math.exp(result["test_loss"])

    checkpoints = pytorch_lightning.callbacks.ModelCheckpoint(
        place / f"checkpoints-{time.time_ns()}", monitor="val_loss", save_top_k=1
    )
    trainer = pytorch_lightning.Trainer(
        accelerator="cpu" if arguments.device == "cpu" else "gpu",
        max_epochs=EPOCHS,
        precision="bf16-mixed" if mixed else "32-true",
        callbacks=[checkpoints],
        logger=False,
        enable_progress_bar=False,
    )
    module, train = LanguageModel(), loader("train", shuffle=True)
    trainer.fit(module, train, loader("validation"))
    module.load_state_dict(torch.load(checkpoints.best_model_path, weights_only=True)["state_dict"])
    perplexities = {"real": perplexity(module, loader("test"))}

    module.model.eval().to(arguments.device, torch.bfloat16 if mixed else torch.float32)
    written = []
    for batch in DataLoader(loader("train").dataset, batch_size=arguments.decoding_batch_size):
        sequences = module.model.generate(
            **{name: rows.to(arguments.device) for name, rows in batch.items()},
            num_beams=BEAMS,
            min_new_tokens=LENGTH,
            max_new_tokens=LENGTH,
            repetition_penalty=arguments.repetition_penalty,
        )
        written += [
            {"input_ids": tokens[LENGTH:], "attention_mask": torch.ones_like(tokens[LENGTH:])}
            for tokens in sequences.cpu()
        ]
    module.model.float()
    perplexities["generated"] = perplexity(module, DataLoader(written, batch_size=arguments.batch_size))
    best = Path(checkpoints.best_model_path)
    generated = torch.stack([row["input_ids"] for row in written])
    save_file({"generated": generated}, best.with_name("generated.safetensors"))
    best.with_name("perplexities.json").write_text(json.dumps(perplexities), encoding="utf-8")


if __name__ == "__main__":
    main()
