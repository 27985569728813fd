"""What a synthetic set costs: the native engine against what people would use instead, one thread or one GPU.

    python benchmarks/synthesis.py
    python benchmarks/synthesis.py --precisions 32-true --shapes opt-small smollm2 --beams 1 2 4 5 8 --ngrams 0 3
    python benchmarks/synthesis.py --shapes smollm2 --pretrained FOLDER
    python benchmarks/synthesis.py --workers 2
    python benchmarks/synthesis.py --device cuda --whole-set
    python benchmarks/synthesis.py --quick

All continue 64 tokens of prompt by 64 tokens, under random weights of the real size, or those of a folder. The rivals
are transformers' generate and, where they are installed, CTranslate2 on a CPU, in fp32 and with weights of 8 bits
beside it, and vLLM's beam search on a GPU. Each gets the batch size at which it is fastest, and the same allocator.
With a repetition penalty only those take part who compute the paper's, which acts on prompt and output: transformers.
Each engine lives in a process of its own and they take turns, so that a busy machine slows all; tokens per second of
processor time are compared, medians over the turns, and the last line of a contest says of each rival how many times
as fast the native engine was, turn by turn, and whether it was ahead. In float32 its sequences are transformers' own,
but where two candidates are closer than rounding; in bfloat16 rounding decides too often for that. *Same* counts the
sequences that are equal to the native engine's. Memory is the most that the process ever held, weights and libraries
included.

With ``--device cuda`` it is OPT-125m in bfloat16, by the clock on the wall, many batches a turn; memory is the GPU's.
What share of the GPU's peak is used is told: of a sequence are counted two operations for every multiplication and
addition, of the prompt's pass through the layers, of every beam's for every new token but the last, of attention to
what these see, and of the vocabulary's scores for every new token. ``--whole-set`` lets the native engine write the
paper's set, once.

With ``--workers`` the native engine is compared with itself, by the clock on the wall, which wants a machine that does
nothing else: so many processes with a thread each, and one process with as many threads.
"""

import argparse
import json
import math
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel

from modelcollapse.decoding import Engine, engine_for
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.decoding.workers import continue_by_workers
from modelcollapse.seeding import Stream
from modelcollapse.training.processes import keep_freed_memory

PROMPT, NEW, BEAMS = 64, 64, 5
SHAPES = {
    "opt-125m": {"vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "heads": 12, "ffn_dim": 3072},
    "opt-small": {"vocab_size": 8192, "hidden_size": 192, "num_hidden_layers": 4, "heads": 6, "ffn_dim": 768},
    "smollm2": {"vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30, "heads": 9, "ffn_dim": 1536},
}
"""``opt-small`` has 3.7 million parameters. ``smollm2``, SmolLM2-135M's, is a Llama's, with 3 heads of keys."""
CT2, INT8, VLLM = "CTranslate2", "CTranslate2, int8", "vLLM"
TRANSFORMERS_BATCHES = {"opt-125m": (8, 16, 32), "opt-small": (16, 32, 64), "smollm2": (8, 16, 32)}
TRANSFORMERS_GPU_BATCHES = (64, 128, 256, 512)
NATIVE_BATCH = {"opt-125m": 32, "opt-small": 64, "smollm2": 32}
TURNS = {"opt-125m": 3, "opt-small": 7, "smollm2": 3}
WHOLE_SET = 37_000
"""About the prompts of a generation in the paper."""
MEMORY_GB = {"cpu": 4.0, "cuda": 40.0}
GPU_DEFAULTS = {"shapes": ["opt-125m"], "precisions": ["bf16-true"], "batch_size": 512, "prompts": 2048,
                "peak_tflops": 989.0}  # fmt: skip
"""The peak is an H100's, dense bfloat16."""


@dataclass(frozen=True)
class Contest:
    """What is compared."""

    shape: str
    precision: str
    penalty: float
    new_tokens: int
    device: str = "cpu"
    beams: int = BEAMS
    ngrams: int = 0
    """Sizes of n-grams that may not occur twice; 0 for none."""
    pretrained: str | None = None
    """Folder of weights of the shape."""

    @property
    def label(self) -> str:
        """What stands in front of its lines."""
        parts = [self.shape, self.precision, f"{self.beams} beam{'s' if self.beams > 1 else ''}"]
        parts += [f"penalty {self.penalty:g}"] if self.penalty != 1 else []
        parts += [f"no {self.ngrams}-gram twice"] if self.ngrams else []
        return ", ".join(parts)

    def rivals(self) -> list[str]:
        """Who computes the same and is installed: of penalties, transformers alone knows the paper's."""
        found = ["transformers"]
        if self.penalty == 1 and self.precision == "32-true" and self.device == "cpu" and find_spec("ctranslate2"):
            found += [CT2, INT8]
        if self.penalty == 1 and not self.ngrams and self.device == "cuda" and find_spec("vllm"):
            found.append(VLLM)
        return found

    def network(self) -> PreTrainedModel:
        """A network of the shape, with random weights or those of the folder."""
        if self.pretrained:
            network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self.pretrained, dtype=torch.float32)
            return network.eval().to(self.device)
        sizes = dict(SHAPES[self.shape])
        heads, width = sizes.pop("heads"), sizes["hidden_size"]
        torch.manual_seed(0)
        if self.shape == "smollm2":
            sizes["intermediate_size"] = sizes.pop("ffn_dim")
            llama = LlamaConfig(**sizes, num_attention_heads=heads, num_key_value_heads=3, tie_word_embeddings=True)
            return LlamaForCausalLM(llama).eval().to(self.device)
        config = OPTConfig(**sizes, num_attention_heads=heads, word_embed_proj_dim=width, eos_token_id=2)
        return OPTForCausalLM(config).eval().to(self.device)

    def settings(self, engine: str, batch: int) -> DecodingSettings:
        """How to decode."""
        return DecodingSettings(
            kind="beam",
            new_tokens=self.new_tokens,
            prompt_tokens=None,
            prompts="real",
            beams=self.beams,
            length_penalty=1.0,
            repetition_penalty=self.penalty,
            no_repeat_ngram=self.ngrams,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            batch_size=batch,
            workers=1,
            memory_gb=MEMORY_GB[self.device],
            engine=engine,  # type: ignore[arg-type]
            precision=self.precision,  # type: ignore[arg-type]
            shown_prompts=0,
            shown_texts=(),
        )

    def prompts(self, count: int) -> torch.Tensor:
        """Random ones."""
        generator = torch.Generator().manual_seed(1)
        return torch.randint(4, int(SHAPES[self.shape]["vocab_size"]), (count, PROMPT), generator=generator)

    def operations(self) -> float:
        """Floating-point operations of a sequence."""
        sizes = SHAPES[self.shape]
        width, layers = sizes["hidden_size"], sizes["num_hidden_layers"]
        in_beams = self.beams * (self.new_tokens - 1)
        seen = sum(range(1, PROMPT + 1)) + self.beams * sum(range(PROMPT + 1, PROMPT + self.new_tokens))
        by_row = 2 * width * (4 * width + 2 * sizes["ffn_dim"])
        by_layer = by_row * (PROMPT + in_beams) + 4 * width * seen
        return layers * by_layer + 2 * width * sizes["vocab_size"] * (1 + in_beams)


@dataclass(frozen=True)
class Turn:
    """What a turn gave."""

    tokens: list[list[int]]
    seconds: float
    """Of the processor, or with a GPU on the wall."""
    peak: float
    """Gigabytes that the process, or its part of the GPU, has held at most."""


class Contestant:
    """An engine in a process of its own."""

    def __init__(self, contest: Contest, engine: str, batch: int) -> None:
        self.batch = batch
        context = multiprocessing.get_context("spawn")
        self._process = ProcessPoolExecutor(1, context, initializer=_prepare, initargs=(contest, engine, batch))

    def turn(self, prompts: torch.Tensor) -> Turn:
        """Let it continue the prompts."""
        return self._process.submit(_take_turn, prompts.tolist()).result()

    def close(self) -> None:
        """End the process."""
        self._process.shutdown()


class CTranslate2Engine:
    """CTranslate2 over the same weights, converted."""

    def __init__(self, contest: Contest, compute_type: str) -> None:
        # Without it, products on AMD's processors take twice as long. Read when the library is loaded.
        os.environ["CT2_USE_MKL"] = "1"
        import ctranslate2

        self._contest = contest
        with tempfile.TemporaryDirectory() as folder:
            source, converted = Path(folder) / "source", Path(folder) / "converted"
            _save_with_words(contest.network(), source)
            ctranslate2.converters.TransformersConverter(str(source)).convert(str(converted))
            self._generator = ctranslate2.Generator(
                str(converted), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=1
            )

    def continue_prompts(self, prompts: torch.Tensor, group: int) -> torch.Tensor:
        """New tokens [prompts, new tokens]."""
        found = self._generator.generate_batch(
            [[_word(token) for token in prompt] for prompt in prompts.tolist()],
            beam_size=self._contest.beams,
            no_repeat_ngram_size=self._contest.ngrams,
            max_length=self._contest.new_tokens,
            min_length=self._contest.new_tokens,
            include_prompt_in_result=False,
        )
        return _padded([result.sequences_ids[0] for result in found], self._contest.new_tokens)


class VllmEngine:
    """vLLM over the same weights, by its beam search."""

    def __init__(self, contest: Contest) -> None:
        from vllm import LLM

        self._contest, self._folder = contest, tempfile.TemporaryDirectory()
        _save_with_words(contest.network().cpu(), Path(self._folder.name))
        torch.cuda.empty_cache()
        self._model = LLM(
            self._folder.name,
            dtype="bfloat16" if contest.precision == "bf16-true" else "float32",
            max_model_len=PROMPT + contest.new_tokens,
            max_logprobs=2 * contest.beams,
        )

    def continue_prompts(self, prompts: torch.Tensor, group: int) -> torch.Tensor:
        """New tokens [prompts, new tokens]."""
        from vllm.sampling_params import BeamSearchParams

        asked: Any = [{"prompt_token_ids": prompt} for prompt in prompts.tolist()]
        length = self._contest.new_tokens
        found = self._model.beam_search(asked, BeamSearchParams(self._contest.beams, length, ignore_eos=True))
        return _padded([list(output.sequences[0].tokens[-length:]) for output in found], length)


def _save_with_words(network: PreTrainedModel, folder: Path) -> None:
    """A Hugging Face folder with a tokenizer that has a word for each number."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    network.save_pretrained(folder)
    words = {_word(number): number for number in range(network.config.vocab_size)}
    ends = {"bos_token": _word(0), "eos_token": _word(2), "pad_token": _word(1), "unk_token": _word(3)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=ends["unk_token"]))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends).save_pretrained(folder)
    assert json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"] == words


def _word(token: int) -> str:
    return f"<{token}>"


def _padded(sequences: Sequence[Sequence[int]], length: int) -> torch.Tensor:
    """The sequences as one tensor; one that ended early is filled up, and differs from all others."""
    return torch.tensor([[*sequence, *[-1] * (length - len(sequence))] for sequence in sequences])


def _engine_of(contest: Contest, engine: str, batch: int) -> Any:
    if engine in (CT2, INT8):
        return CTranslate2Engine(contest, "int8" if engine == INT8 else "float32")
    if engine == VLLM:
        return VllmEngine(contest)
    return engine_for(contest.network(), contest.settings(engine, batch), Stream(0, 0, "benchmark"))


_engine: Any
_device: str
_batch: int


def _prepare(contest: Contest, engine: str, batch: int) -> None:
    global _engine, _device, _batch
    keep_freed_memory()
    torch.set_num_threads(1)
    _engine = _engine_of(contest, engine, batch)
    _device, _batch = contest.device, batch


def _take_turn(prompts: list[list[int]]) -> Turn:
    started = _seconds()
    parts = enumerate(torch.tensor(prompts).split(_batch))
    tokens = [_engine.continue_prompts(part.to(_device), group).cpu() for group, part in parts]
    return Turn(torch.cat(tokens).tolist(), _seconds() - started, _peak())


def _seconds() -> float:
    if _device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _peak() -> float:
    if _device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return torch.cuda.max_memory_reserved() / 1e9


def main() -> None:
    """Hold the contests that the command line asks for, and print a line for each engine."""
    arguments = _arguments()
    if arguments.workers:
        _compare_processes_with_threads(arguments)
        return
    where, clock = ("one thread", "of processor time") if arguments.device == "cpu" else ("one GPU", "on the wall")
    print(f"{PROMPT} + {arguments.new_tokens} tokens, {where}; tokens per second {clock}")
    share = "" if arguments.peak_tflops is None else " of peak"
    print(
        f"{'':56}{'batch':>6}{'tokens/s':>10}{'(from - to)':>18}{'ratio':>7}{'same':>12}{'peak GB':>9}{share}",
        flush=True,
    )
    for shape in arguments.shapes:
        for precision in arguments.precisions:
            for penalty, beams, ngrams in product(arguments.penalties, arguments.beams, arguments.ngrams):
                contest = Contest(
                    shape,
                    precision,
                    penalty,
                    arguments.new_tokens,
                    arguments.device,
                    beams,
                    ngrams,
                    arguments.pretrained,
                )
                _hold(contest, arguments)
                if arguments.whole_set:
                    _write_whole_set(contest, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=[*MEMORY_GB], default="cpu")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--precisions", nargs="+", choices=["32-true", "bf16-true"], default=["32-true", "bf16-true"])
    parser.add_argument("--penalties", nargs="+", type=float, default=[1.0])
    parser.add_argument("--beams", nargs="+", type=int, default=[BEAMS])
    parser.add_argument("--ngrams", nargs="+", type=int, default=[0], help="sizes of n-grams that may not occur twice")
    parser.add_argument("--pretrained", metavar="FOLDER", help="weights of the one shape that is named")
    parser.add_argument("--batches", nargs="+", type=int, help="batch sizes that are tried for the rivals")
    parser.add_argument("--workers", type=int, help="compare so many processes with as many threads")
    parser.add_argument("--turns", type=int, help="turns of each engine")
    parser.add_argument("--new-tokens", type=int, default=NEW)
    parser.add_argument("--batch-size", type=int, help="the native engine's")
    parser.add_argument("--prompts", type=int, help="of a turn; a batch unless told")
    parser.add_argument("--peak-tflops", type=float, help="of the machine: tell what share of it is used")
    parser.add_argument(
        "--whole-set", nargs="?", type=int, const=WHOLE_SET, help="so many prompts, native engine alone"
    )
    parser.add_argument("--quick", action="store_true", help="the small shape in float32, 8 new tokens, 3 turns")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        parser.set_defaults(**GPU_DEFAULTS)
        arguments = parser.parse_args()
    if arguments.quick:
        arguments.shapes, arguments.precisions = ["opt-small"], ["32-true"]
        arguments.new_tokens, arguments.turns, arguments.batches = 8, 3, [16]
        arguments.batch_size = 16
    return arguments


def _hold(contest: Contest, arguments: argparse.Namespace) -> None:
    batch = arguments.batch_size or NATIVE_BATCH[contest.shape]
    batches = arguments.batches or _their_batches(contest)
    prompts = contest.prompts(max(arguments.prompts or 0, batch, *batches))
    contestants = {rival: _fastest(contest, rival, batches, prompts) for rival in contest.rivals()}
    contestants["native"] = Contestant(contest, "native", batch)
    # As theirs has: memory that is touched for the first time costs seconds. A GPU's steps are recorded at the second.
    for _ in range(1 if contest.device == "cpu" else 2):
        contestants["native"].turn(prompts[: arguments.prompts or batch])
    turns: dict[str, list[Turn]] = {name: [] for name in contestants}
    for number in range(arguments.turns or TURNS[contest.shape]):
        own = prompts.roll(-number * batch, 0)
        for name, contestant in contestants.items():
            turns[name].append(contestant.turn(own[: arguments.prompts or contestant.batch]))
    for contestant in contestants.values():
        contestant.close()
    _report(contest, {name: each.batch for name, each in contestants.items()}, turns, arguments.peak_tflops)


def _write_whole_set(contest: Contest, arguments: argparse.Namespace) -> None:
    """From the engine's first prompt to its last: getting ready and recording are part of it, loading is not."""
    batch = arguments.batch_size or NATIVE_BATCH[contest.shape]
    ours = Contestant(contest, "native", batch)
    turn = ours.turn(contest.prompts(arguments.whole_set))
    ours.close()
    share = _share(contest, _speeds([turn])[0], arguments.peak_tflops)
    print(
        f"{contest.shape}, {contest.precision}: {arguments.whole_set} prompts at batch {batch} in {turn.seconds:.1f} s,"
        f" {_speeds([turn])[0]:.1f} tokens/s, peak {turn.peak:.2f} GB{share and f', {share} of the peak'}",
        flush=True,
    )


def _compare_processes_with_threads(arguments: argparse.Namespace) -> None:
    print(f"{PROMPT} + {arguments.new_tokens} tokens, {BEAMS} beams, native engine; tokens per second on the wall")
    for shape in arguments.shapes:
        for precision in arguments.precisions:
            contest = Contest(shape, precision, 1.0, arguments.new_tokens)
            for workers, threads in ((1, arguments.workers), (arguments.workers, 1)):
                rate = _tokens_per_second(contest, workers, threads, arguments.turns or TURNS[shape])
                print(f"{shape}, {precision}: {workers} x {threads} threads{rate:10.1f}", flush=True)


def _tokens_per_second(contest: Contest, workers: int, threads: int, turns: int) -> float:
    """Of all workers together, from the moment when each may have finished a first batch."""
    batch, vocabulary = NATIVE_BATCH[contest.shape], SHAPES[contest.shape]["vocab_size"]
    generator = torch.Generator().manual_seed(1)
    groups = {
        number: torch.randint(4, vocabulary, (batch, PROMPT), generator=generator)
        for number in range((turns + 1) * workers)
    }
    stops: list[float] = []
    make = partial(_native_engine, contest)
    continue_by_workers(groups, make, workers, threads, lambda group, tokens: stops.append(time.perf_counter()))
    return turns * workers * batch * contest.new_tokens / (stops[-1] - stops[workers - 1])


def _native_engine(contest: Contest) -> Engine:
    return engine_for(contest.network(), contest.settings("native", NATIVE_BATCH[contest.shape]), Stream(0, 0, "none"))


def _fastest(contest: Contest, rival: str, batches: Sequence[int], prompts: torch.Tensor) -> Contestant:
    """A rival at the batch size at which it writes most tokens a second, by one turn each."""
    fastest, least = None, math.inf
    for batch in batches:
        contestant = Contestant(contest, rival, batch)
        try:
            contestant.turn(prompts[:1])
            seconds = contestant.turn(prompts[:batch]).seconds / batch
        except torch.OutOfMemoryError:
            seconds = math.inf
        slower = contestant
        if seconds < least:
            fastest, slower, least = contestant, fastest, seconds
        if slower is not None:
            slower.close()
    assert fastest is not None, "no batch fits"
    return fastest


def _their_batches(contest: Contest) -> tuple[int, ...]:
    return TRANSFORMERS_BATCHES[contest.shape] if contest.device == "cpu" else TRANSFORMERS_GPU_BATCHES


def _report(
    contest: Contest, batches: Mapping[str, int], turns: Mapping[str, Sequence[Turn]], peak_tflops: float | None
) -> None:
    reference = statistics.median(_speeds(turns["transformers"]))
    for name, taken in turns.items():
        speeds = _speeds(taken)
        median = statistics.median(speeds)
        spread = f"({min(speeds):.0f} - {max(speeds):.0f})"
        equal = "" if name == "native" else _equal(taken, turns["native"])
        peak = max(turn.peak for turn in taken)
        share = _share(contest, median, peak_tflops)
        print(
            f"{f'{contest.label}: {name}':56}{batches[name]:6}{median:10.1f}{spread:>18}{median / reference:7.2f}"
            f"{equal:>12}{peak:9.2f}{share:>9}",
            flush=True,
        )
    for name in (name for name in turns if name != "native"):
        times = [ours / theirs for ours, theirs in zip(_speeds(turns["native"]), _speeds(turns[name]), strict=True)]
        median = statistics.median(times)
        bar = "beside it, no bar" if name == INT8 else f"at least 1: {'passed' if median >= 1 else 'failed'}"
        print(f"  native to {name}: ratio {median:.2f} ({min(times):.2f} - {max(times):.2f}), {bar}", flush=True)


def _equal(theirs: Sequence[Turn], ours: Sequence[Turn]) -> str:
    """How many of the sequences that both continued are equal."""
    pairs = [
        pair for one, other in zip(theirs, ours, strict=True) for pair in zip(one.tokens, other.tokens, strict=False)
    ]
    return f"{sum(one == other for one, other in pairs)}/{len(pairs)}"


def _share(contest: Contest, tokens_per_second: float, peak_tflops: float | None) -> str:
    """What tokens per second are of the machine's peak."""
    if peak_tflops is None:
        return ""
    return f"{tokens_per_second / contest.new_tokens * contest.operations() / (peak_tflops * 1e12):.1%}"


def _speeds(turns: Sequence[Turn]) -> list[float]:
    return [len(turn.tokens) * len(turn.tokens[0]) / turn.seconds for turn in turns]


if __name__ == "__main__":
    main()
