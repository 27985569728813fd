"""The engine itself: a network made ready once, and prompts continued in parts that fit into memory."""

import math
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from modelcollapse.decoding.native.architectures import network_for
from modelcollapse.decoding.native.beam_search import BeamSearch
from modelcollapse.decoding.native.forward import prompt_bytes
from modelcollapse.decoding.native.history import Restrictions
from modelcollapse.decoding.native.key_value_slots import KeyValueSlots, Texts, Writer, bytes_per_slot
from modelcollapse.decoding.native.network import Network
from modelcollapse.decoding.native.recorded_steps import CudaGraphs, RecordedSteps, Recorder, Step, run_all
from modelcollapse.decoding.native.sampling import Cut, Sampler, TokenByToken, most_probable
from modelcollapse.decoding.native.vocabulary import Vocabulary
from modelcollapse.decoding.precision import as_it_is, for_writing
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.errors import UserError
from modelcollapse.seeding import Stream

GIGABYTE = 10**9


@dataclass(frozen=True)
class Batch:
    """What prompts of one number and length need, kept for the next batch of them."""

    slots: KeyValueSlots
    texts: Texts
    steps: Step
    """Takes the texts from their beginnings to their ends."""

    def continued(self, prompts: Tensor, chance: Tensor) -> Tensor:
        """New tokens [prompts, new tokens] after prompts [prompts, length]; ``chance`` as in Texts."""
        self.texts.begin(prompts, chance)
        self.steps()
        return self.texts.generated()


class NativeEngine:
    """Beam search, sampling or the most probable tokens, by code of our own; see Engine.

    Weights are laid out at the first use, on the device where ``network`` is by then.
    """

    def __init__(self, network: PreTrainedModel, settings: DecodingSettings, stream: Stream) -> None:
        """``network`` is changed to the settings' precision. Raises UserError for more beams than there are tokens."""
        self.network = for_writing(network, settings)
        self._settings, self._stream = settings, stream
        self._whole: Batch | None = None
        if settings.kind == "beam" and settings.beams >= network.config.vocab_size:
            raise UserError(
                f"decoding.beams: {settings.beams} must be fewer than the {network.config.vocab_size} tokens there are"
            )

    def continue_prompts(self, prompts: Tensor, group: int) -> Tensor:
        """New tokens [prompts, new tokens]; see Engine.

        What is advanced at once follows from the settings alone, so that the arithmetic of a group does too.
        """
        with as_it_is(prompts.device):
            at_once = self.prompts_at_once(prompts.shape[1])
            chance = self._chance(len(prompts), group).to(prompts.device)
            parts = zip(prompts.split(at_once), chance.split(at_once), strict=True)
            return torch.cat([self._batch_for(part, at_once).continued(part, own) for part, own in parts])

    def prompts_at_once(self, length: int) -> int:
        """Prompts of ``length`` tokens that are continued together: a batch, or equal parts that fit in memory."""
        affordable = self._settings.memory_gb * GIGABYTE // self._bytes_per_prompt(length)
        parts = math.ceil(self._settings.batch_size / max(1, affordable))
        return math.ceil(self._settings.batch_size / parts)

    def engines_at_once(self, length: int) -> int:
        """How many engines, each at work on prompts of ``length`` tokens, fit in memory; one always does."""
        own = self.prompts_at_once(length) * self._bytes_per_prompt(length)
        return max(1, int(self._settings.memory_gb * GIGABYTE // own))

    def _bytes_per_prompt(self, length: int) -> int:
        slots = self._writer.slots_needed(length) * bytes_per_slot(self._network)
        reading, step = prompt_bytes(self._network, length), self._writer.step_bytes()
        # Graphs keep what a step needs for themselves.
        recorded = step if self.network.device.type == "cuda" else 0
        return slots + max(reading, step) + recorded

    def _chance(self, prompts: int, group: int) -> Tensor:
        """Numbers between 0 and 1 [prompts, new tokens], float64; the same ones on every device."""
        generator = self._stream.at(group).torch()
        return torch.rand(prompts, self._settings.new_tokens, dtype=torch.float64, generator=generator)

    def _batch_for(self, prompts: Tensor, at_once: int) -> Batch:
        """The batch of all prompts that are continued at once, or a smaller one in its slots."""
        count, length = prompts.shape
        size = (at_once, self._writer.slots_needed(length))
        if self._whole is None or self._whole.slots.size != size:
            self._whole = None
            self._whole = self._batch(length, KeyValueSlots.zeroed(self._network, *size), recorder_for(prompts.device))
        if count == at_once:
            return self._whole
        return self._batch(length, self._whole.slots.first(count), None)

    def _batch(self, length: int, slots: KeyValueSlots, recorder: Recorder | None) -> Batch:
        texts = self._writer.texts(length, slots)
        steps = [partial(texts.step, number) for number in range(1, self._settings.new_tokens)]
        return Batch(slots, texts, partial(run_all, steps) if recorder is None else RecordedSteps(steps, recorder))

    @cached_property
    def _network(self) -> Network:
        return network_for(self.network, self._rows)

    @cached_property
    def _writer(self) -> Writer:
        settings, device = self._settings, self.network.device
        restrictions = Restrictions(settings.repetition_penalty, settings.no_repeat_ngram, text_ends(self.network))
        vocabulary = Vocabulary(self._network.vocabulary, self._rows, restrictions)
        if settings.kind == "beam" and settings.beams > 1:
            recycle = recycling_pays(device)
            return BeamSearch(self._network, vocabulary, restrictions, settings.beams, settings.new_tokens, recycle)
        cut = Cut(settings.top_k, settings.top_p, settings.min_p, settings.typical_p, settings.epsilon)
        sampler = Sampler(settings.temperature, cut)
        choose = most_probable if settings.kind == "beam" else sampler
        return TokenByToken(self._network, vocabulary, restrictions, choose, settings.new_tokens)

    @property
    def _rows(self) -> int:
        """Rows that a step usually has."""
        return self._settings.batch_size * self._settings.sequences_per_prompt


def recorder_for(device: torch.device) -> Recorder | None:
    """What records steps on a device; None where they simply run."""
    return CudaGraphs() if device.type == "cuda" else None


def recycling_pays(device: torch.device) -> bool:
    """Whether to write over slots; see Ancestry."""
    return device.type == "cpu"


def text_ends(network: PreTrainedModel) -> tuple[int, ...]:
    """Tokens that would end a text: none, one or several."""
    found = network.config.eos_token_id
    return () if found is None else tuple(found) if isinstance(found, list) else (found,)
