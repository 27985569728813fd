"""The plan of a grid: what is shared, what is there, how long the rest takes, and nothing written."""

import io
import re

import pytest
from rich.console import Console

from modelcollapse.errors import count_of, spoken
from modelcollapse.sweeps import planning
from modelcollapse.sweeps.planning import plans_of, print_plan_tree
from modelcollapse.sweeps.points import read_grid

CHEAP = ("experiment=paper_gaussian", "tracking=none", "data.rows=20", "model.replicates=4", "model.segment_length=2")


@pytest.fixture
def plan_of(tmp_path):
    def plan(*words):
        (found,) = plans_of(read_grid([*words, f"paths.store={tmp_path / 'store'}"]).points)
        return found

    return plan


@pytest.fixture
def printed(monkeypatch):
    def text(plan, jobs=1):
        out = io.StringIO()
        monkeypatch.setattr(planning, "console", lambda: Console(file=out, width=200))
        print_plan_tree(plan, jobs)
        return out.getvalue()

    return text


def test_generation_0_is_shared_and_counted_once(plan_of, printed, tiny, tmp_path):
    plan = plan_of(*tiny, "seed=0,1", "regime=replace,preserve,accumulate,augment")
    # Generations 0 to 2; 0 is everybody's, and 1 is the same for accumulate and augment.
    assert plan.naive_fits == 2 * 4 * 3
    assert plan.fits == 2 * (1 + 3 + 4)
    text = printed(plan)
    assert "tokenizer: for all chains" in text
    assert "2 x generation 0" in text
    assert "seeds 0, 1, each: generations 0 to 1 shared, generation 2 to compute" in text
    assert "16 fits to do, 24 if every chain computed everything itself" in text
    assert "time: unknown" in text
    assert "nothing was computed or written" in text
    assert list(tmp_path.iterdir()) == []


def test_what_is_finished_is_reported_and_what_is_not_is_timed_by_it(plan_of, printed, chain, tmp_path):
    chain(*CHEAP, "generations=4", "seed=0", store=tmp_path / "store")
    plan = plan_of(*CHEAP, "generations=4", "seed=0,1")
    assert (plan.fits, plan.naive_fits) == (3, 6)
    text = printed(plan, jobs=2)
    assert "seed 0: generations 0 to 4 finished" in text
    assert "seed 1: generations 0 to 4 to compute" in text
    # Each fit has its measures beside it.
    assert "6 artifacts to compute, 6 finished" in text
    finished = [plan.store.manifest(artifact).seconds for artifact in plan.chains[0].wanted]
    assert plan.seconds(plan.missing) == pytest.approx(sum(finished), rel=0.5)
    assert plan.untimed == 0
    twice = plan_of(*CHEAP, "generations=4", "seed=1", "model.replicates=8")
    assert twice.seconds(twice.missing) == pytest.approx(2 * plan.seconds(plan.missing))


def test_a_seed_or_a_regime_more_costs_just_that(plan_of, printed, chain, tmp_path):
    # Generation 0, which regimes share, and two segments of two generations.
    words = (*CHEAP, "generations=4", "model.synthesis=samples")

    def compute(plan):
        """Run the chains of a plan; how many fits that took."""
        chains = [chain(*one.point.overrides, store=tmp_path / "store") for one in plan.chains]
        return sum(artifact.work == "fit" for one in chains for work in one.works for artifact in work.computed)

    first = plan_of(*words, "regime=replace,accumulate", "seed=0,1")
    assert first.fits == compute(first) == 2 * (1 + 2 * 2)
    assert plan_of(*words, "regime=replace,accumulate", "seed=0,1").fits == 0
    for added, own, fits in (
        (("regime=replace,accumulate", "seed=0,1,2"), "seed=2", 1 + 2 * 2),
        (("regime=replace,accumulate,preserve", "seed=0,1,2"), "regime=preserve", 3 * 2),
    ):
        plan = plan_of(*words, *added)
        users = {number for artifact in plan.missing for number in plan.users[artifact]}
        assert {number for number in users if own not in plan.chains[number].point.varied} == set()
        assert plan.fits == fits
        assert f"{fits} fits to do, {plan.naive_fits} if every chain computed everything itself" in printed(plan)
        assert compute(plan) == fits


def test_a_long_chain_is_a_line(plan_of, printed):
    plan = plan_of("experiment=paper_gmm", "data.rows=500,1000")
    lines = printed(plan).splitlines()
    assert len(lines) < 10
    assert any("generations 0 to 2050 to compute" in line for line in lines)


PAPER = ("experiment=paper_opt", "tracking=none", "seed=0", "decoding.repetition_penalty=1.0")


def test_the_weights_of_published_networks_are_known_before_they_are_here(plan_of, printed):
    """An OPT-125m takes 501 MB, its optimizer twice that; a text of 10.9 MB some 10 MB as tokens."""
    plan = plan_of(*PAPER, "regime=replace,preserve")
    text = printed(plan, jobs=2)
    assert plan.fits == 19
    assert re.search(r"disk: about 10\.\d GB more \(10\.0 GB of weights, 1\d\d MB of synthetic sets\)", text)
    assert re.search(
        r"operations where no time is known: about \d\.\de\+1[78], which are \d+ d .* \(a CPU core\)", text
    )
    assert "checkpoints of a fit, up to 8.0 GB" in text


def test_weights_that_are_removed_again_are_counted_apart(plan_of, printed):
    text = printed(plan_of(*PAPER, "regime=replace", "store.keep=ends"), jobs=1)
    # The published ones, generation 0 and the last.
    assert "(1.5 GB of weights, " in text
    assert "store.keep=ends removes 4.0 GB of weights again, of which up to 1.0 GB is there at once" in text


def test_what_is_not_known_is_not_counted_as_nothing(plan_of, printed):
    words = ("model=pretrained", "model.pretrained=owner/name", f"model.revision={'a' * 40}", "data=hub")
    words = (*words, "data.path=owner/text", f"data.revision={'b' * 40}", "tracking=none", "seed=0,1", "generations=1")
    assert "disk: not known" in printed(plan_of(*words))
    some = printed(plan_of(*words, "data.train_blocks=100", "data.evaluation_blocks=50"))
    assert re.search(r"disk: about \d\d\d kB more .*; not known for \d+ artifacts, 4 of them fits", some)


def test_a_larger_network_takes_longer_in_proportion(plan_of, chain, small_opt_words, tmp_path):
    words = (*small_opt_words, "generations=0")
    made = chain(*words, store=tmp_path / "store")
    wider = plan_of(*words, "model.architecture.layers=9", "seed=0,1")

    def fit(artifacts):
        return next(artifact for artifact in artifacts if artifact.label == "generation 0 · fit")

    manifest = made.store.manifest(fit(made.generations()[0].artifacts.values()))
    weights = sum(file.bytes for name, file in manifest.files.items() if name.endswith(".safetensors"))
    larger = fit(wider.missing)
    assert larger.expected_bytes > 2 * weights
    expected = manifest.seconds * larger.expected_bytes / weights
    assert wider.expected[larger].seconds == pytest.approx(expected)


def test_the_command_shows_the_plan_and_writes_nothing(train, tmp_path):
    shown = train(*CHEAP, "generations=4", "seed=0,1", "plan=true", configuration="sweep")
    assert shown.code == 0, shown.err
    assert "plan of 2 chains" in shown.out
    assert "nothing was computed or written" in shown.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (3599, "59 min"), (3660, "1 h 1 min"), (100000, "1 d 3 h")],
)
def test_durations_are_spoken_in_their_largest_units(seconds, words):
    assert spoken(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(0, "0 chains"), (1, "1 chain"), (2, "2 chains")])
def test_one_chain_is_not_called_chains(number, words):
    assert count_of(number, "chain") == words
