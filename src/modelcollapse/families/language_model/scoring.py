"""Scoring stages: a model on the real splits, and a synthetic set under the reference model and the truth."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torchmetrics import CatMetric
from transformers import PreTrainedModel

from modelcollapse.data import data_of
from modelcollapse.data.batches import in_order
from modelcollapse.data.blocks import read_blocks
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.families.language_model.module import LossModule, token_losses
from modelcollapse.families.language_model.network import load_network, scoring_bytes
from modelcollapse.families.language_model.recipes import LOSSES_FILE, TRAINING_FILE, StageContext, read_losses
from modelcollapse.metrics.means import mean_metric
from modelcollapse.store import BuildContext
from modelcollapse.training.progress import BatchProgress, stage_bar


class Scores(torch.nn.Module):
    """Running losses of one set of blocks, in nats, float64."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = mean_metric()
        """Per token."""
        self.loss_without_skipped = mean_metric()
        """Per token, targets of the skipped kind left out."""
        self.sequence_loss = CatMetric().set_dtype(torch.float64)
        """Mean per token of every block."""
        self.token_loss = CatMetric(nan_strategy="disable")
        """Of every token of every block, float32, where they are kept."""


class ScoringModule(LossModule):
    """Negative log-likelihoods of blocks under a network, for any number of dataloaders in one pass."""

    def __init__(
        self, network: PreTrainedModel, loaders: int, skipped_token: int | None, tokens_of: Collection[int] = ()
    ) -> None:
        """``skipped_token``: targets of this kind are left out of the second mean (the start of a line).

        ``tokens_of``: dataloaders of which the loss of every token is kept.
        """
        super().__init__(network)
        self.skipped_token, self._tokens_of = skipped_token, frozenset(tokens_of)
        self._scores = torch.nn.ModuleList(Scores() for _ in range(loaders))

    def test_step(self, tokens: torch.Tensor, batch_index: int, dataloader_idx: int = 0) -> None:
        """Add a batch of blocks [batch, length] to the means of its dataloader."""
        token_loss = token_losses(self.network, tokens)
        losses = token_loss.double()
        scores = self.scores_of(dataloader_idx)
        if dataloader_idx in self._tokens_of:
            scores.token_loss.update(token_loss)
        scores.loss.update(losses)
        scores.sequence_loss.update(losses.mean(1))
        if self.skipped_token is not None:
            scores.loss_without_skipped.update(losses, (tokens[:, 1:] != self.skipped_token).double())

    def scores_of(self, loader: int) -> "Scores":
        """The running scores of one dataloader."""
        scores = self._scores[loader]
        assert isinstance(scores, Scores)
        return scores


REAL_SPLITS = ("validation", "test")
TOKEN_LOSSES_AT_MOST = 2**20
"""Of a larger set, losses of single tokens are not stored: 4 MB a set and generation."""


def build_scores(stage: StageContext, context: BuildContext) -> None:
    """Losses on the real validation and test splits, and of the test split under the truth where it is known.

    For each split: ``mean`` over all predicted tokens, as accumulated in the pass, ``mean_without_line_starts`` where
    lines have a start token, ``sequences`` [blocks], and ``tokens`` [blocks, length - 1] unless they are more than
    TOKEN_LOSSES_AT_MOST. ``true.test_mean``: the mean over the same tokens of the test split.
    """
    sets = {split: read_blocks(context.parents["real"], split) for split in REAL_SPLITS}
    line_start = _line_start(stage, context.parents["model"])
    module = _score(stage, context, "model", sets, line_start)
    losses: dict[str, np.ndarray] = {}
    for index, split in enumerate(sets):
        scores = module.scores_of(index)
        losses |= _stored(scores, split)
        if line_start is not None:
            losses[f"{split}.mean_without_line_starts"] = _array(scores.loss_without_skipped.compute())
    if language := data_of(stage.data).truth():
        # The first token of a block is predicted by nothing.
        losses["true.test_mean"] = -language.token_log_probabilities(sets["test"].numpy())[:, 1:].mean()
    _publish(context, losses)
    _keep_training_lines(context)


def _keep_training_lines(context: BuildContext) -> None:
    """Copy the fit's lines: the record needs them even where the weights are removed to save disk."""
    lines = context.parents["model"] / TRAINING_FILE
    (context.folder / TRAINING_FILE).write_bytes(lines.read_bytes() if lines.is_file() else b"")


def build_measures(stage: StageContext, context: BuildContext) -> None:
    """Losses of a synthetic set under the reference model and, where it is known, under the truth.

    ``reference.mean``, ``reference.sequences`` and ``reference.tokens`` as in :func:`build_scores`, and
    ``real_reference.sequences`` of the real validation split; ``true.sequences`` and ``real_true.sequences`` with all
    tokens of a block predicted.
    """
    blocks = read_blocks(context.parents["synthetic"], "blocks")
    module = _score(stage, context, "reference", {"synthetic": blocks}, None)
    losses = _stored(module.scores_of(0), "reference")
    losses["real_reference.sequences"] = read_losses(context.parents["reference_scores"])["validation.sequences"]
    if language := data_of(stage.data).truth():
        validation = read_blocks(context.parents["real"], "validation")
        for name, scored in {"true": blocks, "real_true": validation}.items():
            losses[f"{name}.sequences"] = -language.log_likelihood(scored.numpy()) / scored.shape[1]
    _publish(context, losses)


def _line_start(stage: StageContext, model_folder: Path) -> int | None:
    if not stage.data.line_start_token:
        return None
    token: int = load_tokenizer(model_folder).bos_token_id
    return token


def _score(
    stage: StageContext, context: BuildContext, role: str, sets: Mapping[str, torch.Tensor], skipped_token: int | None
) -> ScoringModule:
    network = load_network(context.parents[role]).eval()
    length = max(blocks.shape[1] for blocks in sets.values())
    batch_size = stage.execution.scoring_batch_size(scoring_bytes(network, length))
    loaders = [in_order(blocks, batch_size) for blocks in sets.values()]
    small = [index for index, blocks in enumerate(sets.values()) if blocks[:, 1:].numel() <= TOKEN_LOSSES_AT_MOST]
    module = ScoringModule(network, len(loaders), skipped_token, tokens_of=small)
    with stage_bar(context.artifact.label, sum(map(len, loaders)), stage.execution) as bar:
        stage.execution.trainer([BatchProgress(bar)]).test(module, loaders, verbose=False)
    context.execution.update(stage.execution.facts(batch_size=batch_size))
    return module


def _stored(scores: Scores, name: str) -> dict[str, np.ndarray]:
    found = {f"{name}.mean": _array(scores.loss.compute()), f"{name}.sequences": _array(scores.sequence_loss.compute())}
    if scores.token_loss.update_called:
        found[f"{name}.tokens"] = _array(scores.token_loss.compute())
    return found


def _array(tensor: torch.Tensor) -> np.ndarray:
    return torch.as_tensor(tensor).cpu().numpy()


def _publish(context: BuildContext, losses: Mapping[str, np.ndarray]) -> None:
    save_file({name: np.array(values, order="C") for name, values in losses.items()}, context.folder / LOSSES_FILE)


def block_losses(stage: StageContext, context: BuildContext, role: str, blocks: torch.Tensor) -> torch.Tensor:
    """Losses [rows] float64 of blocks [rows, length] under the network of a parent, in nats per token."""
    scores = _score(stage, context, role, {role: blocks}, None).scores_of(0)
    return torch.as_tensor(scores.sequence_loss.compute()).cpu()
