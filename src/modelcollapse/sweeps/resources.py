"""How many chains run side by side: what the machine has, and what a chain is expected to take."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path

from modelcollapse.config.settings import ChainSettings
from modelcollapse.families.language_model.settings import ArchitectureSettings, LanguageModelSettings

PROCESS_BYTES = 1_000_000_000
"""A chain's process with the libraries of its family, before it has a model."""
OTHER_FAMILIES_BYTES = 1_500_000_000
"""A chain of a family whose models are small beside its libraries."""
BYTES_PER_PARAMETER = 16
"""Single precision: weight, gradient and Adam's two moments."""
ACTIVATION_WIDTHS = 18
"""Numbers that a decoder layer keeps for the backward pass, per token, in units of its width."""
SCORED_ROWS = 64
"""Blocks taken to be scored at once where the settings leave their number open."""
LOGIT_COPIES = 3
"""Logits, their logarithms and their gradient are there at once."""
SCORING_BYTES = 500_000_000
"""What scoring keeps to where no batch size is set."""
PRETRAINED = ArchitectureSettings(768, 12, 12, 3072, 2048, 0.1, 0.0)
"""The shape that is taken for pretrained weights, which are not read before the work begins: OPT-125m."""
PRETRAINED_VOCABULARY = 50_272
WORDS = 1_000
"""Upper bound of the built-in language's vocabulary."""


def jobs_at_once(chains: Sequence[ChainSettings]) -> int:
    """How many of the chains run at once on this machine: bounded by their number, cores, memory and GPUs."""
    devices = max(chain.trainer.devices for chain in chains)
    by_cores = usable_cores() // max(devices, *(chain.trainer.threads or 1 for chain in chains))
    by_memory = usable_memory() // max(expected_memory(chain) for chain in chains)
    bounds = [len(chains), by_cores, by_memory]
    if any(chain.trainer.accelerator in ("auto", "gpu") for chain in chains) and (gpus := len(visible_gpus())):
        bounds.append(gpus // devices)
    return max(1, min(bounds))


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def usable_memory() -> int:
    """Bytes of memory that nobody uses, within the limit of a container."""
    free = [_free_of_machine()]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            free.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(0, min(free))


def _free_of_machine() -> int:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def expected_memory(chain: ChainSettings) -> int:
    """Bytes that the processes of a chain are expected to take at most, from its settings alone.

    For a language model: each process that shares a fit, 16 bytes a parameter in each, and the larger of what a
    training step keeps for the backward pass and what decoding keeps of keys, values and logits. Other families are
    given a constant for each process.
    """
    devices = chain.trainer.devices
    if not isinstance(chain.model, LanguageModelSettings):
        return devices * OTHER_FAMILIES_BYTES
    shape = chain.model.architecture or PRETRAINED
    vocabulary = _vocabulary(chain.model)
    fit = max(_step_numbers(shape, vocabulary, batch, chain.data.block_length) for batch in _batch_sizes(chain))
    working = max(4 * fit, _scoring_bytes(chain, vocabulary), _decoding_bytes(chain, shape, vocabulary))
    return devices * (PROCESS_BYTES + BYTES_PER_PARAMETER * _parameters(shape, vocabulary)) + working


def _scoring_bytes(chain: ChainSettings, vocabulary: int) -> int:
    batch = chain.trainer.scoring_batch_size
    # Without a number, scoring keeps within bounds of its own.
    return SCORING_BYTES if batch is None else 4 * LOGIT_COPIES * batch * chain.data.block_length * vocabulary


def _vocabulary(model: LanguageModelSettings) -> int:
    if model.tokenizer.kind == "words":
        return WORDS
    return model.tokenizer.vocabulary_size or PRETRAINED_VOCABULARY


def _parameters(shape: ArchitectureSettings, vocabulary: int) -> int:
    layer = 4 * shape.hidden_size**2 + 2 * shape.hidden_size * shape.feedforward_size
    return (vocabulary + shape.positions) * shape.hidden_size + shape.layers * layer


def _batch_sizes(chain: ChainSettings) -> list[int]:
    base = [chain.model.base.training.batch_size] if chain.model.base else []
    return [chain.model.training.batch_size, *base]


def _step_numbers(shape: ArchitectureSettings, vocabulary: int, batch: int, length: int) -> int:
    attention = shape.heads * length
    widths = ACTIVATION_WIDTHS * shape.hidden_size + 2 * shape.feedforward_size + 2 * attention
    return batch * length * (shape.layers * widths + LOGIT_COPIES * vocabulary)


def _decoding_bytes(chain: ChainSettings, shape: ArchitectureSettings, vocabulary: int) -> int:
    decoding = chain.decoding
    sequences = decoding.batch_size * decoding.sequences_per_prompt
    length = (decoding.prompt_tokens or chain.data.block_length) + decoding.new_tokens
    # Keys and values are copied when beams are reordered.
    wanted = 4 * sequences * (2 * 2 * shape.layers * shape.hidden_size * length + LOGIT_COPIES * vocabulary)
    if decoding.engine == "transformers":
        return decoding.workers * wanted + _worker_bytes(chain, shape, vocabulary)
    bounded = min(decoding.workers * wanted, int(decoding.memory_gb * 10**9))
    return bounded + _worker_bytes(chain, shape, vocabulary)


def _worker_bytes(chain: ChainSettings, shape: ArchitectureSettings, vocabulary: int) -> int:
    """Several workers are processes of their own, which hold the weights as they were and as they are laid out."""
    workers = chain.decoding.workers
    return 0 if workers == 1 else workers * (PROCESS_BYTES + 8 * _parameters(shape, vocabulary))


VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that a process started here sees; found without importing a library of theirs."""
    if (named := os.environ.get(VISIBLE)) is not None:
        return [device.strip() for device in named.split(",") if device.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


@contextmanager
def gpus_of_its_own(folder: Path, number: int, count: int) -> Iterator[Mapping[str, str]]:
    """Environment variables that show chain ``number`` so many of several GPUs; none where there is at most one.

    A GPU is taken by locking a file in ``folder``: the lock goes with the process that holds it. Where more are asked
    for than there are, they are dealt out in turn.
    """
    devices = visible_gpus()
    with ExitStack() as held:
        if len(devices) < 2:
            yield {}
            return
        folder.mkdir(parents=True, exist_ok=True)
        shown = list(islice((device for device in devices if _taken(folder, device, held)), count))
        first = number % len(devices)
        shown += [device for device in devices[first:] + devices[:first] if device not in shown][: count - len(shown)]
        yield {VISIBLE: ",".join(shown)}


def _taken(folder: Path, device: str, held: ExitStack) -> bool:
    file = (folder / f"{os.uname().nodename}-{device}").open("w")
    try:
        # Held by the open file, which a chain's process does not inherit.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    held.callback(file.close)
    return True
