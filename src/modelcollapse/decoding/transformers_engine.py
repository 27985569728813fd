"""Decoding through transformers' ``generate``."""

import torch
from transformers import GenerationConfig, PreTrainedModel

from modelcollapse.decoding.precision import as_it_is, for_writing
from modelcollapse.decoding.settings import DecodingSettings
from modelcollapse.seeding import Stream


class TransformersEngine:
    """Beam search or sampling by transformers, every option given explicitly."""

    def __init__(self, network: PreTrainedModel, settings: DecodingSettings, stream: Stream) -> None:
        self.network = for_writing(network, settings)
        self._settings, self._stream = settings, stream
        self._config = generation_config(settings, network)

    def continue_prompts(self, prompts: torch.Tensor, group: int) -> torch.Tensor:
        """New tokens [prompts, new tokens]; see Engine.

        The attention mask is all ones: transformers would otherwise take a pad token in the text for padding and shift
        OPT's positions.
        """
        with as_it_is(prompts.device), self._stream.at(group).global_rng():
            sequences: torch.Tensor = self.network.generate(  # type: ignore[operator]
                input_ids=prompts, attention_mask=torch.ones_like(prompts), generation_config=self._config
            )
        new: torch.Tensor = sequences[:, prompts.shape[1] :]
        return new


def generation_config(settings: DecodingSettings, network: PreTrainedModel) -> GenerationConfig:
    """The settings in transformers' words."""
    config = network.config
    common = {
        "min_new_tokens": settings.new_tokens,
        "max_new_tokens": settings.new_tokens,
        "repetition_penalty": float(settings.repetition_penalty),
        "no_repeat_ngram_size": settings.no_repeat_ngram,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id if config.pad_token_id is not None else 0,
        "use_cache": True,
    }
    if settings.kind == "beam":
        return GenerationConfig(
            **common, do_sample=False, num_beams=settings.beams, length_penalty=settings.length_penalty
        )
    return GenerationConfig(
        **common,
        do_sample=True,
        num_beams=1,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p or None,
        typical_p=settings.typical_p,
        epsilon_cutoff=settings.epsilon,
    )
