"""What a synthetic set costs: the native engine against transformers' generate, beam search, one thread.

    python benchmarks/synthesis.py
    python benchmarks/synthesis.py --workers 2
    python benchmarks/synthesis.py --quick

Both continue 64 tokens of prompt by 64 tokens with 5 beams, under random weights of the real size. transformers gets
the batch size at which it is fastest, and the same allocator. Each engine lives in a process of its own and they take
turns, so that a busy machine slows both; tokens per second of processor time are compared, medians over the turns. In
float32 the native engine's sequences are transformers' own, but where two candidates are closer than rounding; in
bfloat16 rounding decides too often for that. Memory is the most that the process ever held, weights and libraries
included.

With ``--workers`` the native engine is compared with itself, by the clock on the wall, which wants a machine that does
nothing else: so many processes with a thread each, and one process with as many threads.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from transformers import OPTConfig, OPTForCausalLM

from modelcollapse.decoding import Engine, engine_for
from modelcollapse.decoding.workers import continue_by_workers
from modelcollapse.execution.memory import keep_freed_memory
from modelcollapse.seeding import Stream
from modelcollapse.settings.language_model import DecodingSettings

PROMPT, NEW, BEAMS = 64, 64, 5
SHAPES = {
    "opt-125m": {"vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "heads": 12, "ffn_dim": 3072},
    "opt-small": {"vocab_size": 8192, "hidden_size": 192, "num_hidden_layers": 4, "heads": 6, "ffn_dim": 768},
}
TRANSFORMERS_BATCHES = {"opt-125m": (8, 16, 32), "opt-small": (16, 32, 64)}
NATIVE_BATCH = {"opt-125m": 32, "opt-small": 64}
TURNS = {"opt-125m": 3, "opt-small": 7}


@dataclass(frozen=True)
class Contest:
    """What is compared."""

    shape: str
    precision: str
    penalty: float
    new_tokens: int

    def network(self) -> OPTForCausalLM:
        """A network of the shape, with random weights."""
        sizes = dict(SHAPES[self.shape])
        heads, width = sizes.pop("heads"), sizes["hidden_size"]
        torch.manual_seed(0)
        config = OPTConfig(**sizes, num_attention_heads=heads, word_embed_proj_dim=width, eos_token_id=2)
        return OPTForCausalLM(config).eval()

    def settings(self, engine: str, batch: int) -> DecodingSettings:
        """How to decode."""
        return DecodingSettings(
            kind="beam",
            new_tokens=self.new_tokens,
            prompt_tokens=None,
            prompts="real",
            beams=BEAMS,
            length_penalty=1.0,
            repetition_penalty=self.penalty,
            no_repeat_ngram=0,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            batch_size=batch,
            workers=1,
            memory_gb=4.0,
            engine=engine,  # type: ignore[arg-type]
            precision=self.precision,  # type: ignore[arg-type]
            shown_prompts=0,
            shown_texts=(),
        )


@dataclass(frozen=True)
class Turn:
    """What a turn gave."""

    tokens: list[list[int]]
    seconds: float
    """Of the processor."""
    peak: float
    """Gigabytes that the process has held at most."""


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


_engine: Engine | None = None


def _prepare(contest: Contest, engine: str, batch: int) -> None:
    global _engine
    keep_freed_memory()
    torch.set_num_threads(1)
    _engine = engine_for(contest.network(), contest.settings(engine, batch), Stream(0, 0, "benchmark"))


def _take_turn(prompts: list[list[int]]) -> Turn:
    assert _engine is not None
    started = time.process_time()
    tokens = _engine.continue_prompts(torch.tensor(prompts), 0).tolist()
    seconds = time.process_time() - started
    return Turn(tokens, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def main() -> None:
    """Hold the contests that the command line asks for, and print a line for each engine."""
    arguments = _arguments()
    if arguments.workers:
        _compare_processes_with_threads(arguments)
        return
    print(f"{PROMPT} + {arguments.new_tokens} tokens, {BEAMS} beams, one thread; tokens per second of processor time")
    print(f"{'':36}{'batch':>6}{'tokens/s':>10}{'(from - to)':>18}{'ratio':>7}{'same':>10}{'peak GB':>9}", flush=True)
    for shape in arguments.shapes:
        for precision in arguments.precisions:
            for penalty in arguments.penalties:
                _hold(Contest(shape, precision, penalty, arguments.new_tokens), arguments.turns or TURNS[shape])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--precisions", nargs="+", choices=["32-true", "bf16-true"], default=["32-true", "bf16-true"])
    parser.add_argument("--penalties", nargs="+", type=float, default=[1.0])
    parser.add_argument("--workers", type=int, help="compare so many processes with as many threads")
    parser.add_argument("--turns", type=int, help="turns of each engine")
    parser.add_argument("--new-tokens", type=int, default=NEW)
    parser.add_argument("--quick", action="store_true", help="the small shape in float32, 16 new tokens, 3 turns")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.shapes, arguments.precisions = ["opt-small"], ["32-true"]
        arguments.new_tokens, arguments.turns = 16, 3
    return arguments


def _hold(contest: Contest, turns: int) -> None:
    vocabulary, batch = SHAPES[contest.shape]["vocab_size"], NATIVE_BATCH[contest.shape]
    prompts = torch.randint(4, vocabulary, (batch, PROMPT), generator=torch.Generator().manual_seed(1))
    theirs = _fastest(contest, prompts)
    ours = Contestant(contest, "native", batch)
    # As theirs has: memory that is touched for the first time costs seconds.
    ours.turn(prompts)
    their_turns, our_turns = [], []
    for number in range(turns):
        own = prompts.roll(-number * theirs.batch, 0)
        their_turns.append(theirs.turn(own[: theirs.batch]))
        our_turns.append(ours.turn(own))
    theirs.close()
    ours.close()
    _report(contest, theirs.batch, their_turns, batch, our_turns)


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


def _fastest(contest: Contest, prompts: torch.Tensor) -> Contestant:
    """transformers at the batch size at which it writes most tokens a second, by one turn each."""
    seconds = {}
    for batch in TRANSFORMERS_BATCHES[contest.shape]:
        contestant = Contestant(contest, "transformers", batch)
        contestant.turn(prompts[:1])
        seconds[contestant] = contestant.turn(prompts[:batch]).seconds / batch
    best = min(seconds, key=lambda contestant: seconds[contestant])
    for contestant in set(seconds) - {best}:
        contestant.close()
    return best


def _report(contest: Contest, batch: int, theirs: Sequence[Turn], own_batch: int, ours: Sequence[Turn]) -> None:
    penalty = "" if contest.penalty == 1 else f", penalty {contest.penalty:g}"
    pairs = [
        pair for one, other in zip(theirs, ours, strict=True) for pair in zip(one.tokens, other.tokens, strict=False)
    ]
    same = f"{sum(one == other for one, other in pairs)}/{len(pairs)}"
    reference = statistics.median(_speeds(theirs))
    for name, size, turns, equal in (("transformers", batch, theirs, ""), ("native", own_batch, ours, same)):
        speeds = _speeds(turns)
        median = statistics.median(speeds)
        label = f"{contest.shape}, {contest.precision}{penalty}: {name}"
        spread = f"({min(speeds):.0f} - {max(speeds):.0f})"
        peak = max(turn.peak for turn in turns)
        print(
            f"{label:36}{size:6}{median:10.1f}{spread:>18}{median / reference:7.2f}{equal:>10}{peak:9.2f}", flush=True
        )


def _speeds(turns: Sequence[Turn]) -> list[float]:
    return [len(turn.tokens) * len(turn.tokens[0]) / turn.seconds for turn in turns]


if __name__ == "__main__":
    main()
