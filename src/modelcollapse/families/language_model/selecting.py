"""Selection stages: score blocks that a model generated or that one is to be trained on, and keep some of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelcollapse.data import data_of
from modelcollapse.data.blocks import block_count, read_blocks, write_blocks
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.families.language_model.recipes import StageContext
from modelcollapse.families.language_model.scoring import block_losses
from modelcollapse.families.language_model.training_set import composed_blocks, resolved
from modelcollapse.regimes import Draw, rows_of
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.choosing import choose, score, write_scores
from modelcollapse.selections.composed_rows import choose_composed, write_composed_scores
from modelcollapse.selections.recipes import Choosing
from modelcollapse.store import BuildContext


def build_candidate_scores(stage: StageContext, context: BuildContext, *, scorer: Choice, stream: Stream) -> None:
    """Compute the scores of the candidates."""
    candidates = read_blocks(context.parents["candidates"], "blocks")
    write_scores(context, score(scorer, candidates, _available(stage, context, candidates, stream)))


def _available(
    stage: StageContext, context: BuildContext, candidates: torch.Tensor, stream: Stream
) -> dict[str, Callable[[], Any]]:
    """What a scorer of blocks [rows, length] may need."""
    return {
        "reference_losses": lambda: block_losses(stage, context, "reference", candidates),
        "writer_losses": lambda: block_losses(stage, context, "writer", candidates),
        "true_log_likelihood": lambda: _true_log_likelihood(stage, candidates),
        "texts": lambda: load_tokenizer(context.parents["tokenizer"]).batch_decode(candidates),
        "real_rows": lambda: read_blocks(context.parents["real"], "train"),
        "stream": lambda: stream,
    }


def _true_log_likelihood(stage: StageContext, candidates: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(data_of(stage.data).truth().log_likelihood(candidates.numpy()))


def build_selected(stage: StageContext, context: BuildContext, *, choosing: Choosing, rows: float) -> None:
    """Keep as many of the candidates as the regime asks for, as a synthetic set of their own."""
    candidates = read_blocks(context.parents["candidates"], "blocks")
    prompts = block_count(context.parents["real"], "train")
    kept = choose(context, choosing, len(candidates), rows_of(rows, prompts), prompts)
    write_blocks(context.folder, blocks=candidates[kept.rows].numpy())


def build_training_set_scores(
    stage: StageContext, context: BuildContext, *, scorer: Choice, stream: Stream, draws: Sequence[Draw]
) -> None:
    """Compute the scores of all blocks of a training set."""
    real_rows = block_count(context.parents["real"], "train")
    blocks = composed_blocks(draws, context.parents, real_rows)[0]
    available = _available(stage, context, blocks, stream)
    write_composed_scores(context, scorer, blocks, lambda: resolved(draws, context.parents, real_rows), available)


def build_selected_rows(
    stage: StageContext, context: BuildContext, *, choosing: Choosing, size: float, draws: Sequence[Draw]
) -> None:
    """Keep places of a training set, ``size`` times as many as it has."""
    parts = resolved(draws, context.parents, block_count(context.parents["real"], "train"))
    choose_composed(context, choosing, size, parts)
