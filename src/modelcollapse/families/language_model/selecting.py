"""Selection stages: score candidate blocks, and keep some of them."""

import torch

from modelcollapse.data import data_of
from modelcollapse.data.blocks import block_count, read_blocks, write_blocks
from modelcollapse.data.tokenizers import load_tokenizer
from modelcollapse.families.language_model.recipes import StageContext
from modelcollapse.families.language_model.scoring import block_losses
from modelcollapse.regimes import rows_of
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.choosing import choose, score, write_scores
from modelcollapse.selections.recipes import Choosing
from modelcollapse.store import BuildContext


def build_candidate_scores(stage: StageContext, context: BuildContext, *, scorer: Choice, stream: Stream) -> None:
    """Compute the scores of the candidates."""
    candidates = read_blocks(context.parents["candidates"], "blocks")
    available = {
        "reference_losses": lambda: block_losses(stage, context, "reference", candidates),
        "writer_losses": lambda: block_losses(stage, context, "writer", candidates),
        "true_log_likelihood": lambda: _true_log_likelihood(stage, candidates),
        "texts": lambda: load_tokenizer(context.parents["tokenizer"]).batch_decode(candidates),
        "real_rows": lambda: read_blocks(context.parents["real"], "train"),
        "stream": lambda: stream,
    }
    write_scores(context, score(scorer, candidates, available))


def _true_log_likelihood(stage: StageContext, candidates: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(data_of(stage.data).truth().log_likelihood(candidates.numpy()))


def build_selected(stage: StageContext, context: BuildContext, *, choosing: Choosing, rows: float) -> None:
    """Keep as many of the candidates as the regime asks for, as a synthetic set of their own."""
    candidates = read_blocks(context.parents["candidates"], "blocks")
    prompts = block_count(context.parents["real"], "train")
    kept = choose(context, choosing, len(candidates), rows_of(rows, prompts), prompts)
    write_blocks(context.folder, blocks=candidates[kept.rows].numpy())
