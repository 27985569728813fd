"""Stages that score: a model on the real splits, and what a model wrote under the reference model and the truth."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from modelcollapse.data import data_of
from modelcollapse.data.batches import in_order
from modelcollapse.data.blocks import read_blocks
from modelcollapse.data.language import Language
from modelcollapse.families.language_model.inputs import BYTES
from modelcollapse.families.language_model.module import Scores, ScoringModule
from modelcollapse.families.language_model.network import load_network, scoring_bytes
from modelcollapse.families.language_model.recipes import (
    METRICS_FILE,
    SEQUENCES_FILE,
    TRAINING_FILE,
    StageContext,
    read_sequences,
)
from modelcollapse.metrics.distribution import bits_per_byte, perplexity, perplexity_summary, tail_bounds
from modelcollapse.metrics.diversity import diversity
from modelcollapse.store import BuildContext
from modelcollapse.training.progress import BatchProgress, stage_bar

REAL_SPLITS = ("validation", "test")
RARE_MASS = 0.1


def make_scores(stage: StageContext, context: BuildContext) -> None:
    """Perplexity on the real validation and test splits, with and without line starts, and bits per byte."""
    real = context.parents["real"]
    sets = {split: read_blocks(real, split) for split in REAL_SPLITS}
    line_start = _line_start(stage, context.parents["model"])
    module = _score(stage, context, "model", sets, line_start)
    lengths = read_blocks(real, BYTES)
    metrics: dict[str, float] = {}
    for index, (split, blocks) in enumerate(sets.items()):
        measured = _split_metrics(module.scores_of(index), blocks, lengths, line_start is not None)
        metrics |= {f"{split}/{name}": value for name, value in measured.items()}
    sequences = {split: _sequence_losses(module.scores_of(index)) for index, split in enumerate(sets)}
    if language := data_of(stage.data).truth():
        metrics |= _against_truth(language, sets["test"], metrics["test/perplexity"])
    _publish(context, metrics, sequences)
    _keep_training_lines(context)


def _keep_training_lines(context: BuildContext) -> None:
    """Copy the fit's lines here: weights may be removed to save disk, the record is still to be rebuilt."""
    lines = context.parents["model"] / TRAINING_FILE
    (context.folder / TRAINING_FILE).write_bytes(lines.read_bytes() if lines.is_file() else b"")


def make_measures(stage: StageContext, context: BuildContext) -> None:
    """Reference perplexity, diversity and, for the built-in language, the true probability of a synthetic set."""
    blocks = read_blocks(context.parents["synthetic"], "blocks")
    module = _score(stage, context, "reference", {"synthetic": blocks}, None)
    sequences = {"reference_loss": _sequence_losses(module.scores_of(0))}
    bounds = tail_bounds(np.exp(read_sequences(context.parents["reference_scores"])["validation"]))
    summary = perplexity_summary(np.exp(sequences["reference_loss"]), bounds)
    metrics = {f"reference_perplexity/{name}": value for name, value in summary.items()}
    train = read_blocks(context.parents["real"], "train").numpy()
    metrics |= diversity(blocks.numpy(), train)
    if language := data_of(stage.data).truth():
        true_metrics, sequences["true_loss"] = _true_measures(language, context, blocks)
        metrics |= true_metrics
    _publish(context, {f"synthetic/{name}": value for name, value in metrics.items()}, sequences)


def _line_start(stage: StageContext, model_folder: Path) -> int | None:
    if not stage.data.line_start_token:
        return None
    token: int = json.loads((model_folder / "config.json").read_text())["bos_token_id"]
    return token


def _score(
    stage: StageContext, context: BuildContext, role: str, sets: Mapping[str, torch.Tensor], skipped_token: int | None
) -> ScoringModule:
    network = load_network(context.parents[role]).eval()
    length = max(blocks.shape[1] for blocks in sets.values())
    batch_size = stage.execution.scoring_batch_size(scoring_bytes(network, length))
    loaders = [in_order(blocks, batch_size) for blocks in sets.values()]
    module = ScoringModule(network, len(loaders), skipped_token)
    with stage_bar(context.artifact.label, sum(map(len, loaders)), stage.execution.console) as bar:
        stage.execution.trainer([BatchProgress(bar)]).test(module, loaders, verbose=False)
    context.execution.update(stage.execution.facts(batch_size=batch_size))
    return module


def _split_metrics(
    scores: Scores, blocks: torch.Tensor, bytes_per_token: torch.Tensor, with_line_starts: bool
) -> dict[str, float]:
    loss = float(scores.loss.compute())
    targets = blocks[:, 1:]
    total_bytes = int(bytes_per_token[targets.long()].sum())
    metrics = {"perplexity": perplexity(loss), "bits_per_byte": bits_per_byte(loss * targets.numel(), total_bytes)}
    if with_line_starts:
        metrics["perplexity_without_line_starts"] = perplexity(float(scores.loss_without_skipped.compute()))
    return metrics


def _sequence_losses(scores: Scores) -> np.ndarray:
    return torch.as_tensor(scores.sequence_loss.compute()).cpu().numpy()


def _against_truth(language: Language, blocks: torch.Tensor, model_perplexity: float) -> dict[str, float]:
    """The language's own perplexity on true samples, and KL(truth || model) in nats per token, estimated without bias.

    Both are of the tokens after the first, given those before; no model beats the truth but by chance of the sample.
    """
    true_loss = -float(language.token_log_probabilities(blocks.numpy())[:, 1:].mean())
    return {"true/perplexity": perplexity(true_loss), "true/kl": math.log(model_perplexity) - true_loss}


def _true_measures(
    language: Language, context: BuildContext, blocks: torch.Tensor
) -> tuple[dict[str, float], np.ndarray]:
    losses = -language.log_likelihood(blocks.numpy()) / blocks.shape[1]
    validation = read_blocks(context.parents["real"], "validation").numpy()
    bounds = tail_bounds(np.exp(-language.log_likelihood(validation) / validation.shape[1]))
    summary = perplexity_summary(np.exp(losses), bounds)
    metrics = {f"true_perplexity/{name}": value for name, value in summary.items()}
    metrics["true_nll"] = float(losses.mean())
    metrics["rare_word_share"] = float(rare_words(language.unigram())[blocks.numpy()].mean())
    return metrics, losses


def rare_words(unigram: np.ndarray) -> np.ndarray:
    """Which words [V] are the rarest that together hold at most a tenth of the true probability."""
    rarest_first = np.argsort(unigram, kind="stable")
    rare = np.zeros(len(unigram), dtype=bool)
    rare[rarest_first[np.cumsum(unigram[rarest_first]) <= RARE_MASS]] = True
    return rare


def _publish(context: BuildContext, metrics: Mapping[str, float], sequences: Mapping[str, np.ndarray]) -> None:
    (context.folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1, sort_keys=True))
    save_file(
        {name: np.ascontiguousarray(values) for name, values in sequences.items()},
        context.folder / SEQUENCES_FILE,
    )


def block_losses(stage: StageContext, context: BuildContext, role: str, blocks: torch.Tensor) -> torch.Tensor:
    """Losses [rows] float64 of blocks [rows, length] under the network of a parent, in nats per token."""
    scores = _score(stage, context, role, {role: blocks}, None).scores_of(0)
    return torch.as_tensor(scores.sequence_loss.compute()).cpu()
