"""Which metrics a run computes, what one that is added computes anew (itself), and what a broken one leaves."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from conftest import TINY
from modelcollapse.chain import chain_id
from modelcollapse.commands import metrics_document
from modelcollapse.config.settings import read_chain_settings
from modelcollapse.metrics.base import metric, metric_member
from modelcollapse.metrics.computing import MetricFailed
from modelcollapse.registry import RegistrationError, registry
from modelcollapse.settings import SettingsError
from trust.tiny_chains import CHAINS


@pytest.fixture
def added():
    """Register metrics by the decorator; they are gone after the test."""
    before = {**registry("metrics")._members} if list(registry("metrics")) else {}
    yield metric
    registry("metrics")._members.clear()
    registry("metrics")._members.update(before)


def published(store):
    """Checksum of every file of a published artifact: of the folders that are named by what they hold."""
    files = (path for path in store.glob("[a-z]*/*/*") if path.is_file())
    return {path.relative_to(store): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def without(lines, name):
    return [{key: value for key, value in line.items() if key != name} for line in lines]


GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
"""Numbers of the commit before metrics became functions of what is stored; there, these are the same to the bit."""


@pytest.mark.parametrize(
    ("name", "overrides", "generation", "tolerance"),
    [
        ("quickstart", TINY, 0, 1e-3),
        ("vae", CHAINS["vae"], 0, 1e-3),
        ("gaussian", CHAINS["gaussian"], -1, 1e-9),
        ("mixture", CHAINS["gaussian_mixture"], -1, 1e-6),
    ],
)
def test_the_numbers_are_those_of_golden_values(chain, name, overrides, generation, tolerance):
    """Networks are fitted a little differently on other processors, and may then choose another word or two."""
    line = {key: value for key, value in chain(*overrides).lines()[generation].items() if key in GOLDEN[name]}
    assert line.keys() == GOLDEN[name].keys()
    assert line == pytest.approx(GOLDEN[name], rel=tolerance, abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("family", ["language_model", "vae"])
def test_a_metric_that_is_added_to_a_finished_chain_is_all_that_is_computed(chain, tmp_path, added, family):
    first = chain(*CHAINS[family])
    stored = published(tmp_path / "store")
    need = {"language_model": "tokens", "vae": "features"}[family]

    @added("rows", of="synthetic", version=1, needs=(need,))
    def rows(**inputs):
        return len(inputs[need])

    again = chain(*CHAINS[family], "metrics.add=[rows]")
    assert again.computed() == []
    assert published(tmp_path / "store") == stored
    assert [line["synthetic/rows"] for line in again.lines()] == [{"language_model": 60, "vae": 12}[family]] * 2
    assert without(again.lines(), "synthetic/rows") == first.lines()


def test_a_metric_takes_what_its_parameters_are_named_after(chain, added):
    @added("types_per_token", label="types per token", of="synthetic", version=1)
    def types_per_token(tokens: torch.Tensor) -> float:
        return tokens.unique().numel() / tokens.numel()

    run = chain(*CHAINS["language_model"], "generations=0", "metrics.add=[types_per_token]")
    (line,) = run.lines()
    assert line["synthetic/types_per_token"] == line["synthetic/distinct_1"]


def test_a_dear_metric_is_an_artifact_and_its_version_makes_it_anew_alone(chain, added):
    def registered(version):
        registry("metrics")._members.pop("dearest", None)

        @added("dearest", label="dearest", of="synthetic", version=version, cost="dear")
        def dearest(tokens):
            return {"version": version, "nothing": float("nan")}

    registered(1)
    overrides = (*CHAINS["language_model"], "metrics.add=[dearest]")
    chain(*overrides)
    assert chain(*overrides).computed() == []
    registered(2)
    again = chain(*overrides)
    assert again.computed() == ["generation 0 · dearest", "generation 1 · dearest"]
    assert [line["synthetic/dearest/version"] for line in again.lines()] == [2, 2]
    assert again.lines()[0]["synthetic/dearest/nothing"] is None


def test_a_dear_metric_that_is_removed_costs_nothing(chain):
    run = chain(*CHAINS["vae"], "metrics.remove=[kid,class_share]")
    assert not any("KID" in label for label in run.computed())
    names = set(run.lines()[0])
    assert {"synthetic/precision", "synthetic/class_entropy"} <= names
    assert not {name for name in names if "kid" in name or "class_share" in name}


def test_the_full_set_is_the_default_one_and_more(chain):
    default = chain(*CHAINS["language_model"], "generations=0")
    full = chain(*CHAINS["language_model"], "generations=0", "metrics.set=full")
    assert full.computed() == ["generation 0 · longest copy"]
    (more,), (usual,) = full.lines(), default.lines()
    assert usual.items() <= more.items()
    assert {"synthetic/distinct_4", "validation/loss_standard_error"} <= more.keys() - usual.keys()


def test_metrics_of_replicates_are_summarised_as_measures_are(chain, added, tmp_path):
    @added("distance", of="replicates", version=1)
    def distance(states, true, first, generations):
        assert len(generations) == len(states["mean"])
        assert states["mean"].shape[1:] == first["mean"].shape
        return (states["mean"] - true["mean"]).norm(dim=-1)

    overrides = CHAINS["gaussian"]
    plain = chain(*overrides)
    run = chain(*overrides, "metrics.add=[distance]")
    assert run.computed() == []
    for line, before in zip(run.lines(), plain.lines(), strict=True):
        for statistic in ("mean", "standard_deviation", "p05", "median", "p95"):
            assert line[f"distance/{statistic}"] == pytest.approx(before[f"mean_error/{statistic}"], rel=1e-12)


def test_a_metric_that_fails_is_named_with_its_traceback_and_the_artifacts_are_kept(train, added, tmp_path):
    @added("broken", of="synthetic", version=1)
    def broken(tokens):
        return tokens.no_such_thing

    overrides = CHAINS["language_model"]
    failed = train(*overrides, "metrics.add=[broken]")
    assert failed.code == 2
    assert "error: generation 0: metric 'broken' failed" in failed.err
    assert "Traceback (most recent call last)" in failed.err
    assert "return tokens.no_such_thing" in failed.err
    assert "AttributeError: 'Tensor' object has no attribute 'no_such_thing'" in failed.err
    assert "computing.py" not in failed.err
    assert not any(line["computed"] for line in train(*overrides, "generations=0").lines("timings.jsonl"))


@pytest.mark.parametrize("given", ["text", None, torch.zeros(3)])
def test_what_is_no_number_is_refused(chain, added, given):
    @added("wordy", of="synthetic", version=1)
    def wordy(tokens):
        return given

    with pytest.raises(MetricFailed, match=r"generation 0: metric 'wordy' failed(.|\n)*and no number"):
        chain(*CHAINS["language_model"], "generations=0", "metrics.add=[wordy]")


def test_a_misspelt_metric_is_one_problem_with_the_nearest_name(compose_values, tiny):
    with pytest.raises(SettingsError) as caught:
        read_chain_settings(compose_values(*tiny, "metrics.add=[distinct_9]", "metrics.remove=[perplexitty]"))
    first, second = caught.value.problems
    assert first.startswith("metrics.add[0]: 'distinct_9' is no metric (did you mean distinct_")
    assert second.startswith("metrics.remove[0]: 'perplexitty' is no metric (did you mean perplexity?)")


def test_a_metric_of_another_family_is_refused_with_what_this_one_offers(chain):
    with pytest.raises(SettingsError, match=r"metrics\.add: kid .* needs features, real_features, .* offers .*tokens"):
        chain(*CHAINS["language_model"], "metrics.add=[kid]")


def test_metrics_are_no_part_of_the_chains_identity(compose_values, tiny):
    ids = {
        chain_id(read_chain_settings(compose_values(*tiny, *overrides)))
        for overrides in ((), ("metrics.add=[distinct_4]",), ("metrics.set=full",), ("metrics.remove=[against_truth]",))
    }
    assert len(ids) == 1


def test_the_run_folder_says_which_metrics_of_which_version_are_of_what(chain, added):
    @added("mine", of="real", version=7)
    def mine(token_losses, mean_loss):
        return abs(float(token_losses.astype("float64").mean()) - mean_loss)

    run = chain(*CHAINS["language_model"], "metrics.add=[mine]", "metrics.remove=[distinct_1]")
    said = json.loads((run.folder / "metrics.json").read_text())
    assert {name: said["perplexity"][name] for name in ("version", "origin", "artifacts")} == {
        "version": 1,
        "origin": "modelcollapse",
        "artifacts": ["scores"],
    }
    assert said["vocabulary_kept"]["artifacts"] == ["real", "synthetic"]
    assert (said["mine"]["version"], said["mine"]["origin"]) == (7, __file__)
    assert len({metric["digest"] for metric in said.values()}) > 1
    assert "distinct_1" not in said
    for line in run.lines():
        assert line["validation/mine"] == pytest.approx(0, abs=1e-5)


def test_what_a_metric_does_not_say_is_refused_where_it_is_registered(added):
    with pytest.raises(RegistrationError, match=r"is of \['everything'\]; it must be of synthetic, real"):
        metric_member("mine", len, of="everything")
    with pytest.raises(RegistrationError, match="does not say what it needs"):
        metric_member("mine", "somewhere:function", of="synthetic")
    with pytest.raises(TypeError, match="price"):
        metric_member("mine", "somewhere:function", of="synthetic", needs=("tokens",), price="cheap")


def test_the_page_of_metrics_is_up_to_date(repository):
    made = "python -m modelcollapse.commands.metrics_document > docs/metrics.md"
    assert metrics_document.page() == (repository / "docs" / "metrics.md").read_text(), f"make it anew: {made}"


def test_every_metric_is_there_and_takes_what_it_needs():
    import inspect

    for member in registry("metrics").members():
        parameters = tuple(inspect.signature(member.load()).parameters)
        assert parameters == member.options["needs"], member.name
