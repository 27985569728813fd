"""The stages of the language-model family: the function that builds each artifact, and its version."""

from collections.abc import Sequence

from modelcollapse.edits.settings import PRIOR_FOLDER
from modelcollapse.families.language_model.recipes import StageContext
from modelcollapse.families.stage import Stage, stage
from modelcollapse.merges.recipes import Merging
from modelcollapse.regimes import Draw
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.recipes import ONLY_WITH, Choosing
from modelcollapse.store import BuildContext


@stage("language_model.tokenizer", version=1, work="input")
def tokenizer(stage: StageContext, context: BuildContext) -> None:
    """The vocabulary of the data, of the base's text, or of the pretrained weights."""
    from modelcollapse.families.language_model.inputs import build_tokenizer

    build_tokenizer(stage, context)


@stage("language_model.real_data", version=1, work="input")
def real_data(stage: StageContext, context: BuildContext) -> None:
    """Token blocks of the real splits and of the reserve."""
    from modelcollapse.families.language_model.inputs import build_real_data

    build_real_data(stage, context)


@stage("language_model.fresh_data", version=1, work="input")
def fresh_data(stage: StageContext, context: BuildContext, *, generation: int, share: float, stream: Stream) -> None:
    """Real blocks that no generation before was trained on."""
    from modelcollapse.families.language_model.inputs import build_fresh_data

    build_fresh_data(stage, context, generation=generation, share=share, stream=stream)


@stage("language_model.base_data", version=1, work="input")
def base_data(stage: StageContext, context: BuildContext) -> None:
    """Token blocks of the text that the base is pretrained on."""
    from modelcollapse.families.language_model.inputs import build_base_data

    build_base_data(stage, context)


@stage("language_model.pretrained", version=1, work="input")
def pretrained(stage: StageContext, context: BuildContext) -> None:
    """Published weights, copied into the store as safetensors."""
    from modelcollapse.families.language_model.fitting import build_pretrained

    build_pretrained(stage, context)


@stage("language_model.prior", version=1, work="input", only_with=PRIOR_FOLDER)
def prior(stage: StageContext, context: BuildContext, *, folder: str) -> None:
    """The model of a folder by whose probabilities text is edited, with its own tokenizer."""
    from modelcollapse.families.language_model.prior import build_prior

    build_prior(context, folder)


@stage("language_model.base", version=2, work="fit")
def base(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """The base, pretrained."""
    from modelcollapse.families.language_model.fitting import build_base

    build_base(stage, context, stream=stream)


@stage("language_model.fit", version=2, work="fit")
def fit(
    stage: StageContext,
    context: BuildContext,
    *,
    generation: int,
    draws: Sequence[Draw],
    stream: Stream,
    callbacks: Sequence[Choice] = (),
) -> None:
    """A generation, fitted to its composition of sources."""
    from modelcollapse.families.language_model.fitting import build_generation

    build_generation(stage, context, generation=generation, draws=draws, stream=stream, callbacks=callbacks)


@stage("language_model.merge", version=1, work="fit", only_with="merge")
def merge(stage: StageContext, context: BuildContext, *, merging: Merging) -> None:
    """A generation's network with merged weights."""
    from modelcollapse.families.language_model.merging import build_merged

    build_merged(stage, context, merging=merging)


@stage("language_model.generate", version=1, work="synthesis")
def generate(stage: StageContext, context: BuildContext, *, rows: float, stream: Stream) -> None:
    """The continuations that a model generates for every prompt block."""
    from modelcollapse.families.language_model.generating import build_synthetic_set

    build_synthetic_set(stage, context, rows=rows, stream=stream)


@stage("language_model.edit", version=1, work="synthesis", only_with="editing")
def edit(stage: StageContext, context: BuildContext, *, edit: Choice, stream: Stream) -> None:
    """The real text, or the edited one of the generation before, with tokens changed."""
    from modelcollapse.families.language_model.editing import build_edited

    build_edited(stage, context, edit=edit, stream=stream)


@stage("language_model.continuations", version=1)
def continuations(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """Continuations of fixed prompts, as text."""
    from modelcollapse.families.language_model.generating import build_continuations

    build_continuations(stage, context, stream=stream)


@stage("language_model.score", version=3)
def score(stage: StageContext, context: BuildContext) -> None:
    """Losses on the real validation and test splits."""
    from modelcollapse.families.language_model.scoring import build_scores

    build_scores(stage, context)


@stage("language_model.measure", version=2)
def measure(stage: StageContext, context: BuildContext) -> None:
    """Losses of a synthetic set under the reference model, and under the truth where it is known."""
    from modelcollapse.families.language_model.scoring import build_measures

    build_measures(stage, context)


@stage("language_model.score_candidates", version=1, work="synthesis")
def score_candidates(stage: StageContext, context: BuildContext, *, scorer: Choice, stream: Stream) -> None:
    """Scores of the candidates of a selection."""
    from modelcollapse.families.language_model.selecting import build_candidate_scores

    build_candidate_scores(stage, context, scorer=scorer, stream=stream)


@stage("language_model.select", version=1, work="synthesis")
def select(stage: StageContext, context: BuildContext, *, choosing: Choosing, rows: float) -> None:
    """The candidates that the rule of a selection keeps."""
    from modelcollapse.families.language_model.selecting import build_selected

    build_selected(stage, context, choosing=choosing, rows=rows)


@stage("language_model.score_training_set", version=1, work="synthesis", only_with=ONLY_WITH)
def score_training_set(
    stage: StageContext, context: BuildContext, *, scorer: Choice, stream: Stream, draws: Sequence[Draw]
) -> None:
    """Scores of all blocks of a training set."""
    from modelcollapse.families.language_model.selecting import build_training_set_scores

    build_training_set_scores(stage, context, scorer=scorer, stream=stream, draws=draws)


@stage("language_model.select_training_set", version=1, work="synthesis", only_with=ONLY_WITH)
def select_training_set(
    stage: StageContext, context: BuildContext, *, choosing: Choosing, size: float, draws: Sequence[Draw]
) -> None:
    """The places of a training set that the rule of a selection keeps."""
    from modelcollapse.families.language_model.selecting import build_selected_rows

    build_selected_rows(stage, context, choosing=choosing, size=size, draws=draws)


STAGES: Sequence[Stage] = (
    tokenizer,
    real_data,
    fresh_data,
    base_data,
    pretrained,
    base,
    fit,
    merge,
    generate,
    prior,
    edit,
    continuations,
    score,
    measure,
    score_candidates,
    select,
    score_training_set,
    select_training_set,
)
"""All stages of the family."""
