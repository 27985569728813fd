"""Estimate of the peak memory of a chain of language models, from its settings alone."""

from modelcollapse.families.base import ChainNeeds
from modelcollapse.families.language_model.shapes import PUBLISHED, Shape, known_shape

PROCESS_BYTES = 1_000_000_000
"""A chain's process with the libraries of its family, before it has a model."""
BYTES_PER_PARAMETER = 20
"""Single precision: weight, gradient, Adam's two moments, and the best epoch's weight."""
ACTIVATION_WIDTHS = 18
"""Numbers that a decoder layer keeps for the backward pass, per token, in units of its width."""
SCORED_ROWS = 64
"""Blocks taken to be scored at once where the settings leave their number open."""
LOGIT_COPIES = 3
"""Logits, their logarithms and their gradient are there at once."""
SCORING_BYTES = 500_000_000
"""What scoring keeps to where no batch size is set."""
UNKNOWN = PUBLISHED["facebook/opt-125m"]
"""The shape that is taken for pretrained weights that are not here yet."""
WORDS = 1_000
"""Upper bound of the built-in language's vocabulary."""


def expected_memory(chain: ChainNeeds) -> int:
    """Bytes that the processes of a chain are expected to take at most, from its settings alone.

    For each process that shares a fit 20 bytes a parameter, and the larger of what a training step keeps for the
    backward pass and what decoding keeps of keys, values and logits.
    """
    devices = chain.trainer.devices
    shape = known_shape(chain.model, WORDS) or UNKNOWN
    fit = max(_step_numbers(shape, batch, chain.data.block_length) for batch in _batch_sizes(chain))
    working = max(4 * fit, _scoring_bytes(chain, shape), _decoding_bytes(chain, shape))
    return devices * (PROCESS_BYTES + BYTES_PER_PARAMETER * shape.parameters) + working


def _scoring_bytes(chain: ChainNeeds, shape: Shape) -> int:
    batch = chain.trainer.scoring_batch_size
    # Without a number, scoring keeps within bounds of its own.
    return SCORING_BYTES if batch is None else 4 * LOGIT_COPIES * batch * chain.data.block_length * shape.vocabulary


def _batch_sizes(chain: ChainNeeds) -> list[int]:
    base = [chain.model.base.training.batch_size] if chain.model.base else []
    at_once = chain.trainer.micro_batch_size
    return [min(size, at_once or size) for size in (chain.model.training.batch_size, *base)]


def _step_numbers(shape: Shape, batch: int, length: int) -> int:
    attention = shape.heads * length
    widths = ACTIVATION_WIDTHS * shape.width + 2 * shape.inner + 2 * attention
    return batch * length * (shape.layers * widths + LOGIT_COPIES * shape.vocabulary)


def _decoding_bytes(chain: ChainNeeds, shape: Shape) -> int:
    decoding = chain.decoding
    sequences = decoding.batch_size * decoding.sequences_per_prompt
    length = (decoding.prompt_tokens or chain.data.block_length) + decoding.new_tokens
    # Keys and values are copied when beams are reordered.
    wanted = 4 * sequences * (2 * 2 * shape.layers * shape.width * length + LOGIT_COPIES * shape.vocabulary)
    if decoding.engine == "transformers":
        return decoding.workers * wanted + _worker_bytes(chain, shape)
    bounded = min(decoding.workers * wanted, int(decoding.memory_gb * 10**9))
    return bounded + _worker_bytes(chain, shape)


def _worker_bytes(chain: ChainNeeds, shape: Shape) -> int:
    """Several workers are processes of their own, which hold the weights as they were and as they are laid out."""
    workers = chain.decoding.workers
    return 0 if workers == 1 else workers * (PROCESS_BYTES + 8 * shape.parameters)
