"""The stages of the VAE family: the function that builds each artifact, and its version."""

from collections.abc import Sequence

from modelcollapse.families.stage import Stage, stage
from modelcollapse.families.vae.recipes import StageContext
from modelcollapse.merges.recipes import Merging
from modelcollapse.regimes import Draw
from modelcollapse.registry import Choice
from modelcollapse.seeding import Stream
from modelcollapse.selections.recipes import ONLY_WITH, Choosing
from modelcollapse.store import BuildContext


@stage("vae.real_data", version=1, work="input")
def real_data(stage: StageContext, context: BuildContext) -> None:
    """Labelled images of the real splits and of the reserve."""
    from modelcollapse.families.vae.inputs import build_real_data

    build_real_data(stage, context)


@stage("vae.fresh_data", version=1, work="input")
def fresh_data(stage: StageContext, context: BuildContext, *, generation: int, share: float, stream: Stream) -> None:
    """Real images that no generation before was trained on."""
    from modelcollapse.families.vae.inputs import build_fresh_data

    build_fresh_data(stage, context, generation=generation, share=share, stream=stream)


@stage("vae.fit", version=2, work="fit")
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
    from modelcollapse.families.vae.fitting import build_generation

    build_generation(stage, context, generation=generation, draws=draws, stream=stream, callbacks=callbacks)


@stage("vae.merge", version=1, work="fit", only_with="merge")
def merge(stage: StageContext, context: BuildContext, *, merging: Merging) -> None:
    """A generation's network with merged weights."""
    from modelcollapse.families.vae.merging import build_merged

    build_merged(stage, context, merging=merging)


@stage("vae.generate", version=1, work="synthesis")
def generate(stage: StageContext, context: BuildContext, *, rows: float, stream: Stream) -> None:
    """The images that a model draws, or the decoder that they are streamed from."""
    from modelcollapse.families.vae.generating import build_synthetic_set

    build_synthetic_set(stage, context, rows=rows, stream=stream)


@stage("vae.classifier", version=2, work="fit")
def classifier(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """The classifier in whose features and classes samples are measured, trained once on the real data."""
    from modelcollapse.families.vae.scoring import build_classifier

    build_classifier(stage, context, stream=stream)


@stage("vae.score", version=3)
def score(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """Losses of the real validation and test splits."""
    from modelcollapse.families.vae.scoring import build_scores

    build_scores(stage, context, stream=stream)


@stage("vae.measure", version=2)
def measure(stage: StageContext, context: BuildContext, *, stream: Stream) -> None:
    """Latent means, features and classes of samples and of real images."""
    from modelcollapse.families.vae.scoring import build_measures

    build_measures(stage, context, stream=stream)


@stage("vae.score_candidates", version=1, work="synthesis")
def score_candidates(stage: StageContext, context: BuildContext, *, scorer: Choice, stream: Stream) -> None:
    """Scores of the candidates of a selection."""
    from modelcollapse.families.vae.selecting import build_candidate_scores

    build_candidate_scores(stage, context, scorer=scorer, stream=stream)


@stage("vae.select", version=1, work="synthesis")
def select(stage: StageContext, context: BuildContext, *, choosing: Choosing, rows: float) -> None:
    """The candidates that the rule of a selection keeps."""
    from modelcollapse.families.vae.selecting import build_selected

    build_selected(stage, context, choosing=choosing, rows=rows)


@stage("vae.score_training_set", version=1, work="synthesis", only_with=ONLY_WITH)
def score_training_set(
    stage: StageContext, context: BuildContext, *, scorer: Choice, stream: Stream, draws: Sequence[Draw]
) -> None:
    """Scores of all images of a training set."""
    from modelcollapse.families.vae.selecting import build_training_set_scores

    build_training_set_scores(stage, context, scorer=scorer, stream=stream, draws=draws)


@stage("vae.select_training_set", version=1, work="synthesis", only_with=ONLY_WITH)
def select_training_set(
    stage: StageContext, context: BuildContext, *, choosing: Choosing, size: float, draws: Sequence[Draw]
) -> None:
    """The places of a training set that the rule of a selection keeps."""
    from modelcollapse.families.vae.selecting import build_selected_rows

    build_selected_rows(stage, context, choosing=choosing, size=size, draws=draws)


STAGES: Sequence[Stage] = (
    real_data,
    fresh_data,
    fit,
    merge,
    generate,
    classifier,
    score,
    measure,
    score_candidates,
    select,
    score_training_set,
    select_training_set,
)
"""All stages of the family."""
