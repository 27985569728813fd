"""What a report says of selections: metrics against the kept share, and confusion tables."""

import re

import pytest

from modelcollapse.families import presentation_of
from modelcollapse.report import write_sweep_report
from modelcollapse.report.chains import read_chains
from modelcollapse.report.groups import Cube, groups_of
from modelcollapse.report.kept_shares import lines_of
from modelcollapse.report.tables import shown_statistics, statistics_table

pytest_plugins = ("report_runs",)


def selected(config, rule, oversampling=1.0, **settings):
    """The settings of a run with a selection; without one where the rule is None."""
    chosen = {"rule": None, "scorer": None}
    if rule is not None:
        scorer = None if rule == "random" else {"name": "true_likelihood"}
        chosen = {"rule": {"name": rule, **settings}, "scorer": scorer}
    return {**config, "selection": {**chosen, "oversampling": oversampling}}


@pytest.fixture
def runs(tmp_path, one_run, grid_config):
    """Write two runs for each selection, of seeds 0 and 1, whose perplexity rises with what is kept."""

    def write(*selections, **more):
        for number, (rule, oversampling, settings) in enumerate(selections):

            def metrics(generation, seed, effect, oversampling=oversampling, rule=rule):
                counts = {
                    "right_kept": 8,
                    "right_not_kept": 8 * (oversampling - 1),
                    "wrong_kept": 2,
                    "wrong_not_kept": 6,
                }
                kept = {"kept_share": 1 / oversampling, **(counts if rule == "verifier" else {})}
                found = {f"selection/{name}": value for name, value in kept.items()} if rule else {}
                return {"test/perplexity": 30.0 + 10 / oversampling + seed, **found}

            for seed in (0, 1):
                config = selected(grid_config(generations=1), rule, oversampling, **settings)
                folder = tmp_path / "sweep" / f"{number}_{seed}"
                one_run(folder, seed=seed, penalty=number, config=config, generations=1, metrics=metrics, **more)
        return tmp_path / "sweep"

    return write


def lines(folder):
    groups = groups_of(read_chains([folder]))
    cubes = {group.label: Cube.of(group) for group in groups}
    shown = shown_statistics(statistics_table(groups, cubes, {"language_model": presentation_of("language_model")}))
    return {line.label: list(line.shares.values()) for line in lines_of(groups, shown[shown["generation"] == 1])}


def test_a_line_is_of_a_rule_and_its_scorer_and_what_selects_nothing_keeps_all(runs):
    grid = [(rule, oversampling, {}) for rule in ("random", "top") for oversampling in (4.0, 2.0)]
    assert lines(runs(*grid, (None, 1.0, {}))) == {
        "random": [0.25, 0.5],
        "top by true_likelihood": [0.25, 0.5],
        "no selection": [1.0],
    }


def test_settings_of_a_rule_tell_lines_of_equal_shares_apart(runs):
    grid = [("tournament", oversampling, {"sharpness": s}) for s in (1, 5) for oversampling in (4.0, 2.0)]
    assert lines(runs(*grid)) == {
        f"tournament by true_likelihood, sharpness={sharpness}": [0.25, 0.5] for sharpness in (1, 5)
    }


def test_a_setting_that_changes_the_share_is_drawn_along_a_line(runs):
    grid = [("resample", oversampling, {"exponent": oversampling}) for oversampling in (4.0, 2.0)]
    assert lines(runs(*grid)) == {"resample by true_likelihood": [0.25, 0.5]}


def test_nothing_is_drawn_where_all_keep_the_same_share(runs):
    assert lines(runs(("random", 2.0, {}), ("top", 2.0, {}), (None, 1.0, {}))) == {}


def test_the_page_shows_the_picture_and_who_was_right(runs):
    folder = runs(("random", 2.0, {}), *(("verifier", oversampling, {"at_least": 1}) for oversampling in (2.0, 4.0)))
    files = write_sweep_report([folder], folder / "report")
    assert {f"kept_shares.{kind}" for kind in ("png", "pdf")} <= {path.name for path in files.figures}
    html = files.html.read_text()
    assert 'href="#selections"' in html
    assert "against the share of the candidates that is kept" in html
    # Of 16 and of 32 right candidates 8 were kept, of 8 wrong ones 2.
    (section,) = [part for part in html.split("<section ") if part.startswith('id="selections"')]
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", section)
    assert [("verifier" in label, re.findall(r"<td>(.*?)</td>", cells)[-2:]) for label, cells in rows] == [
        (True, ["0.500", "0.250"]),
        (True, ["0.250", "0.250"]),
    ]
