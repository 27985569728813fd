"""Estimate of the peak memory of a chain of language models, from its settings alone."""

from modelcollapse.families.base import ChainNeeds
from modelcollapse.families.language_model.settings import ArchitectureSettings, LanguageModelSettings

PROCESS_BYTES = 1_000_000_000
"""A chain's process with the libraries of its family, before it has a model."""
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


def expected_memory(chain: ChainNeeds) -> int:
    """Bytes that the processes of a chain are expected to take at most, from its settings alone.

    For each process that shares a fit 16 bytes a parameter, and the larger of what a training step keeps for the
    backward pass and what decoding keeps of keys, values and logits.
    """
    devices = chain.trainer.devices
    shape = chain.model.architecture or PRETRAINED
    vocabulary = _vocabulary(chain.model)
    fit = max(_step_numbers(shape, vocabulary, batch, chain.data.block_length) for batch in _batch_sizes(chain))
    working = max(4 * fit, _scoring_bytes(chain, vocabulary), _decoding_bytes(chain, shape, vocabulary))
    return devices * (PROCESS_BYTES + BYTES_PER_PARAMETER * _parameters(shape, vocabulary)) + working


def _scoring_bytes(chain: ChainNeeds, vocabulary: int) -> int:
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


def _batch_sizes(chain: ChainNeeds) -> list[int]:
    base = [chain.model.base.training.batch_size] if chain.model.base else []
    at_once = chain.trainer.micro_batch_size
    return [min(size, at_once or size) for size in (chain.model.training.batch_size, *base)]


def _step_numbers(shape: ArchitectureSettings, vocabulary: int, batch: int, length: int) -> int:
    attention = shape.heads * length
    widths = ACTIVATION_WIDTHS * shape.hidden_size + 2 * shape.feedforward_size + 2 * attention
    return batch * length * (shape.layers * widths + LOGIT_COPIES * vocabulary)


def _decoding_bytes(chain: ChainNeeds, shape: ArchitectureSettings, vocabulary: int) -> int:
    decoding = chain.decoding
    sequences = decoding.batch_size * decoding.sequences_per_prompt
    length = (decoding.prompt_tokens or chain.data.block_length) + decoding.new_tokens
    # Keys and values are copied when beams are reordered.
    wanted = 4 * sequences * (2 * 2 * shape.layers * shape.hidden_size * length + LOGIT_COPIES * vocabulary)
    if decoding.engine == "transformers":
        return decoding.workers * wanted + _worker_bytes(chain, shape, vocabulary)
    bounded = min(decoding.workers * wanted, int(decoding.memory_gb * 10**9))
    return bounded + _worker_bytes(chain, shape, vocabulary)


def _worker_bytes(chain: ChainNeeds, shape: ArchitectureSettings, vocabulary: int) -> int:
    """Several workers are processes of their own, which hold the weights as they were and as they are laid out."""
    workers = chain.decoding.workers
    return 0 if workers == 1 else workers * (PROCESS_BYTES + 8 * _parameters(shape, vocabulary))
