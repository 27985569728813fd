"""Writes the page of all metrics from their registry: ``python -m modelcollapse.commands.metrics_document``.

It shows the metrics of this package, whatever extensions are installed.
"""

from collections.abc import Sequence

from modelcollapse.metrics.base import SUBJECTS, Metric, metrics

INTRODUCTION = """# Metrics

This page is made from the code: `python -m modelcollapse.commands.metrics_document > docs/metrics.md`.

A metric is a function of what is stored: losses, features, tokens, states. `metrics.add=[NAME]` computes one beside the
default ones and `metrics.remove=[NAME]` leaves one out, also of a finished chain, by the same command or by
[`modelcollapse measure`](commands.md#measure): nothing is fitted, generated or
scored again. `metrics.set=full` computes all that the model family offers inputs for. Cheap metrics are computed
whenever a generation is recorded; dear ones are artifacts of the [store](store.md). The run folder's `metrics.json`
holds the version of each, and the artifacts that it is computed of. `metrics.shown=[test/perplexity, ...]` chooses what
tables of runs and sweeps show, by flat names; without it they show the headline of the model family.

Losses are in nats a token. A block of L tokens has L - 1 predicted tokens, each given those before it in the block; its
first token is predicted by nothing. A perplexity is exp of a mean loss over tokens, not a mean of batch means.
*Reference* is generation 0 of the chain. *Sequence* is a block. Percentiles are interpolated linearly.
"""
HEADINGS = {
    "real": "Of real data: `validation/...`, `test/...`, of the start's weights `zero_shot/...`",
    "synthetic": "Of the synthetic set: `synthetic/...`",
    "model": "Of the model",
    "replicates": "Of the replicates of estimator families: `<name>/mean`, `<name>/median`, ...",
}
"""Heading of the metrics of each subject, in the order of the page."""
HEAD = "| name | unit | what, and how it is estimated | needs | cost |\n|---|---|---|---|---|\n"
NONE_HERE = """Estimators have measures of their own, see [the record](record.md). A metric that is registered for
replicates may need `states`, `first`, `true` and `generations`.
"""


def main() -> None:
    """Print the page."""
    print(page(), end="")


def page() -> str:
    """The whole page, in Markdown."""
    assert HEADINGS.keys() == SUBJECTS.keys()
    every = [metric for metric in metrics() if metric.member.is_built_in]
    sections = [INTRODUCTION]
    for subject, heading in HEADINGS.items():
        sections += [f"## {heading}\n", _table([metric for metric in every if metric.of[0] == subject])]
    return "\n".join(sections)


def _table(rows: Sequence[Metric]) -> str:
    return HEAD + "".join(map(_row, rows)) if rows else NONE_HERE


def _row(metric: Metric) -> str:
    what = f"{metric.what}. {metric.caveat}" if metric.caveat else metric.what
    also = f". Also of {' and '.join(metric.of[1:])} images" if metric.of[1:] else ""
    chosen = "" if metric.is_default else ", in `metrics.set=full` only"
    needs = ", ".join(f"`{need}`" for need in metric.needs)
    names = ", ".join(f"`{name}`" for name in metric.records or (metric.name,))
    return f"| {names} | {metric.unit} | {what}{also} | {needs} | {metric.cost}{chosen} |\n"


if __name__ == "__main__":
    main()
