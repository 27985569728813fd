"""Right and wrong candidates, kept and not kept: what is counted, and how a run shows it."""

import pytest
import torch

from modelcollapse.chain_session import write_report
from modelcollapse.record import ChainIdentity, Record
from modelcollapse.registry import Choice, registry
from modelcollapse.selections.confusion import confusion, right_by_score
from modelcollapse.selections.report import CONFUSION_FILE, confusion_document, confusion_row
from modelcollapse.selections.settings import NO_SELECTION, SelectionSettings

COUNTS = ("right_kept", "right_not_kept", "wrong_kept", "wrong_not_kept")


def test_a_candidate_that_stands_in_several_places_counts_once_in_each_replicate():
    is_right = torch.tensor([[True, True, False, False, False], [False, True, True, True, True]])
    found = confusion(is_right, torch.tensor([[0, 0, 2], [4, 3, 0]]))
    assert {name: count.tolist() for name, count in found.items()} == {
        "right_kept": [1, 2],
        "right_not_kept": [1, 2],
        "wrong_kept": [1, 1],
        "wrong_not_kept": [2, 0],
    }


@pytest.mark.parametrize(
    ("rule", "scorer", "expected"),
    [
        ("threshold", "true_likelihood", [False, True]),
        ("verifier", "oracle", [False, True]),
        ("threshold", "surplexity", None),
        ("top", "true_likelihood", None),
    ],
)
def test_who_is_right_is_known_by_a_true_score_and_a_rule_that_sets_a_limit(rule, scorer, expected):
    given = {"at_least": 0.5, "keeps_right": 1.0, "keeps_wrong": 0.0}
    member = registry("rules")[rule]
    fields = getattr(member.settings, "__dataclass_fields__", {})
    settings = member.settings(**{name: given[name] for name in fields}) if fields else None
    selection = SelectionSettings(Choice("rules", rule, settings), Choice("scorers", scorer), 2.0, "synthetic")
    found = right_by_score(selection, torch.tensor([0.4, 0.5]))
    assert (found if found is None else found.tolist()) == expected
    assert right_by_score(NO_SELECTION, None) is None


def test_rates_are_shares_of_the_right_and_of_the_wrong_ones():
    counts = dict(zip(COUNTS, (6.0, 2.0, 1.0, 3.0), strict=True))
    row = confusion_row({f"selection/{name}": count for name, count in counts.items()})
    assert list(row.values()) == ["6", "2", "1", "3", "0.750", "0.250"]
    of_replicates = confusion_row({f"selection/{name}/mean": count + 0.5 for name, count in counts.items()})
    assert list(of_replicates.values()) == ["6.5", "2.5", "1.5", "3.5", "0.722", "0.300"]
    none_wrong = confusion_row({f"selection/{name}": float(name.startswith("right")) for name in COUNTS})
    assert none_wrong["false positive rate"] == "–"
    assert confusion_row({"selection/kept_share": 0.5}) is None
    assert confusion_document([(0, {"selection/kept_share": 0.5})], "") is None


def test_a_run_writes_the_table_of_labels_whose_right_ones_are_known_whatever_the_scorer(chain, tmp_path):
    words = ("model=logistic_regression", "data=logistic_samples", "model.ridge=0.1", "decoding=none", "tracking=none")
    words = (*words, "data.rows=20", "model.replicates=4", "generations=1", "trainer.threads=1")
    run = chain(*words, "selection=top", "selection/scorer=confidence")
    with Record(tmp_path / "report", ChainIdentity("tiny", "", "", "", "replace", 0), {}) as record:
        write_report(record, run.family, run.works, run.settings)
    line = run.lines()[1]
    counts = [line[f"selection/{name}/mean"] for name in COUNTS]
    assert sum(counts) == 40
    row = f"| 1 | {' | '.join(f'{count:.1f}' for count in counts)} | "
    assert row in (tmp_path / "report" / CONFUSION_FILE).read_text()
