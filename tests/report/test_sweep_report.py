"""The report as files: what is written, from what, and what never gets into it."""

import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from modelcollapse.errors import UserError
from modelcollapse.record import read_lines
from modelcollapse.report import write_sweep_report
from modelcollapse.report.chains import RecordedHistogram, read_chains
from modelcollapse.report.histograms import rebinned
from modelcollapse.report.page import TEMPLATES, continuations, vega_script
from modelcollapse.store.claims import MARKER_FILE, mark_files

pytest_plugins = ("report_runs",)

DEAD = 2**22 + 1
"""A process number that Linux gives to none."""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a grid, and the folder of the grid."""
    from report_runs import write_grid

    folder = tmp_path_factory.mktemp("sweep")
    write_grid(folder, penalties=(1.0, 2.0))
    return write_sweep_report([folder], folder / "report"), folder


class Elements(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self._skipped = [], "", False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._skipped = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._skipped = False

    def handle_data(self, data):
        self.text += "" if self._skipped else data


def test_all_files_are_there_and_agree(report):
    files, folder = report
    names = ["summary", "statistics", "paired_differences", "collapse_profile"]
    assert [path.name for path in files.summary] == [f"{name}.{kind}" for name in names for kind in ("parquet", "csv")]
    for name in names:
        parquet = pd.read_parquet(folder / "report" / f"{name}.parquet")
        written = pd.read_csv(folder / "report" / f"{name}.csv")
        assert list(parquet.columns) == list(written.columns)
        assert len(parquet) == len(written) > 0
        for column in parquet.select_dtypes("number"):
            np.testing.assert_array_equal(parquet[column], written[column])
    pd.testing.assert_frame_equal(files.aggregated, pd.read_parquet(folder / "report" / "statistics.parquet"))
    assert files.unfinished == ()


def test_figures_are_png_and_pdf(report):
    files, _ = report
    names = {path.name for path in files.figures}
    assert {
        f"{name}.{kind}" for name in ("perplexity_by_generation", "diversity_by_generation") for kind in ("png", "pdf")
    } == names
    assert all(path.read_bytes().startswith((b"\x89PNG", b"%PDF")) for path in files.figures)


def test_the_headline_has_a_row_a_group(report):
    files, _ = report
    assert files.headline["group"].tolist() == [
        f"{regime}, repetition_penalty={penalty}" for regime in ("replace", "preserve") for penalty in (1, 2)
    ]
    assert files.headline["perplexity (real test)"].iloc[0] == "46 (36, 46, 56)"
    assert "vocabulary kept" not in files.headline


def test_the_same_runs_give_the_same_bytes_and_leave_nothing_beside(report, tmp_path):
    files, folder = report
    again = write_sweep_report([folder], tmp_path / "again")
    for path in [files.html, *files.summary, *files.figures]:
        other = again.html.parent / path.relative_to(files.html.parent)
        assert path.read_bytes() == other.read_bytes(), path.name
    assert [path.name for path in files.html.parent.rglob(".*")] == [MARKER_FILE]


def test_figures_of_an_earlier_report_go_away_and_no_others(tmp_path, one_run):
    one_run(tmp_path / "0")
    first = write_sweep_report([tmp_path], tmp_path / "report")
    gone, mine = tmp_path / "report" / "figures" / "gone.png", tmp_path / "report" / "figures" / "mine.png"
    gone.write_bytes(b"of an earlier report")
    mine.write_bytes(b"of the user")
    written = [*first.figures, first.html, *first.summary, gone]
    mark_files(tmp_path / "report", "report", (str(path.relative_to(tmp_path / "report")) for path in written))
    # Of a report that was killed while it drew.
    left = tmp_path / "report" / f".figures.{os.uname().nodename}-{DEAD}"
    left.mkdir()
    write_sweep_report([tmp_path], tmp_path / "report")
    assert not gone.exists()
    assert not left.exists()
    assert mine.read_bytes() == b"of the user"


def test_a_folder_with_figures_of_others_is_no_place_for_a_report(tmp_path, one_run):
    one_run(tmp_path / "runs" / "0")
    picture = tmp_path / "mine" / "figures" / "cat.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"cat")
    with pytest.raises(UserError, match="is no folder of a report, and figures there would be replaced"):
        write_sweep_report([tmp_path / "runs"], tmp_path / "mine")
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [picture]


DAMAGED = {
    "histograms.jsonl": b'{"generation": 0, "name": "synthetic/reference_loss", "counts": [1], "edges": [0.0]}\n',
    "samples.jsonl": b"[]\n",
    "provenance.jsonl": b"\xff\xfe\n",
    "timings.jsonl": b'{"generation": 0, "stage": "model"}\n',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_is_one_message(tmp_path, one_run, name):
    one_run(tmp_path / "0")
    (tmp_path / "0" / name).write_bytes(DAMAGED[name])
    with pytest.raises(UserError, match=f"{name}.* is damaged: .*; the run's own command writes its record again"):
        write_sweep_report([tmp_path], tmp_path / "report")


def test_a_damaged_table_is_one_message(tmp_path, one_run):
    one_run(tmp_path / "0")
    (tmp_path / "0" / "perplexities.parquet").write_bytes(b"PAR1")
    (chain,) = read_chains([tmp_path])
    with pytest.raises(UserError, match=r"perplexities\.parquet: is damaged"):
        chain.table("perplexities")


def test_the_page_asks_for_nothing_outside_it(report):
    files, _ = report
    elements = Elements(files.html.read_text())
    assert [attributes for tag, attributes in elements.tags if tag == "link"] == []
    sources = [attributes[name] for _, attributes in elements.tags for name in ("src", "href") if name in attributes]
    assert all(source.startswith(("#", "data:")) for source in sources)
    (policy,) = [
        attributes["content"] for _, attributes in elements.tags if "content-security" in str(attributes).lower()
    ]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert files.html.stat().st_size < 2_000_000


def test_what_a_model_wrote_is_text_and_not_html(tmp_path, one_run):
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"
    one_run(tmp_path / "0", texts=lambda generation: nasty)
    html = write_sweep_report([tmp_path], tmp_path / "report").html.read_text()
    elements = Elements(html)
    assert nasty in elements.text
    assert [tag for tag, _ in elements.tags].count("script") == 4
    assert not [attributes for _, attributes in elements.tags if "onerror" in attributes]


def test_a_name_cannot_end_the_script_that_it_stands_in(tmp_path, one_run, grid_config):
    for number, name in enumerate(("</script><b>", "plain")):
        config = {**grid_config(), "data": {"column": name}}
        one_run(tmp_path / str(number), config=config)
    html = write_sweep_report([tmp_path], tmp_path / "report").html.read_text()
    assert "</script><b>" not in html
    (chart,) = re.findall(r'id="curves-chart">(.*?)</script>', html, re.DOTALL)
    assert "</script><b>" in json.dumps(json.loads(chart))


def test_secrets_are_not_in_any_file(tmp_path, one_run, grid_config, monkeypatch):
    for number, key in enumerate(("typed-secret-1", "typed-secret-2")):
        config = {**grid_config(), "tracking": {"api_key": key}, "data": {"hub_token": key}}
        one_run(tmp_path / str(number), config=config, texts=lambda generation: "leak hf_abcdefghijkl")
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    files = write_sweep_report([tmp_path], tmp_path / "report")
    for path in (files.html, *files.summary):
        content = path.read_bytes()
        assert b"typed-secret" not in content
        assert b"hf_abcdefghijkl" not in content


def test_an_unfinished_sweep_is_reported_and_says_so(tmp_path, one_run):
    one_run(tmp_path / "0", seed=0)
    one_run(tmp_path / "1", seed=1, recorded=2)
    one_run(tmp_path / "2", seed=0, regime="preserve", recorded=0)
    files = write_sweep_report([tmp_path], tmp_path / "report")
    assert files.headline["group"].tolist() == ["replace"]
    assert files.unfinished == (
        "replace, seed 1 (1): interrupted in generation 2 of 3",
        "preserve, seed 0 (2): interrupted in generation 0 of 3",
        "preserve: no chain of seed 1, which other groups have",
    )
    text = Elements(files.html.read_text()).text
    assert all(sentence in text for sentence in files.unfinished)
    assert "3 chains in 2 groups, 1 of them finished" in text


def test_two_sweeps_beside_each_other(tmp_path, grid):
    grid(tmp_path / "a", regimes=("replace",))
    grid(tmp_path / "b", regimes=("preserve",))
    files = write_sweep_report([tmp_path / "a", tmp_path / "b"], tmp_path / "report")
    assert files.headline["group"].tolist() == ["a", "b"]
    assert set(files.aggregated["sweep"]) == {"a", "b"}
    last = files.differences[files.differences["generation"] == 3].set_index("metric")
    assert last.loc["test/perplexity", ["setting", "first", "second", "mean_difference"]].tolist() == [
        "sweep",
        "a",
        "b",
        -4.5,
    ]
    assert "b − a" in Elements(files.html.read_text()).text


def test_a_family_unknown_here_is_shown_by_its_metrics(tmp_path, one_run):
    one_run(
        tmp_path / "0", family="somebody_elses", metrics=lambda generation, seed, effect: {"mine": 1.0 + generation}
    )
    files = write_sweep_report([tmp_path], tmp_path / "report")
    assert files.headline["mine"].tolist() == ["4"]


def test_chains_of_different_families_are_reported_together(tmp_path, one_run):
    one_run(tmp_path / "0")
    one_run(tmp_path / "1", family="vae", metrics=lambda generation, seed, effect: {"test/elbo": -100.0})
    files = write_sweep_report([tmp_path], tmp_path / "report")
    assert files.headline["group"].tolist() == ["language_model", "vae"]
    assert files.headline["perplexity (real test)"].tolist() == ["33", "–"]
    assert {path.name for path in files.figures} >= {"vae_elbo_by_generation.png"}


def test_a_long_chain_makes_a_small_page(tmp_path, one_run):
    one_run(tmp_path / "0", generations=400)
    files = write_sweep_report([tmp_path], tmp_path / "report")
    assert files.html.stat().st_size < 1_300_000
    assert len(files.aggregated) == 401 * 3
    assert (
        "Of 401 generations at most 60 are drawn, evenly on a logarithmic scale; the tables have all."
        in Elements(files.html.read_text()).text
    )


def test_continuations_stand_side_by_side(report):
    from modelcollapse.report.chains import read_chains
    from modelcollapse.report.groups import groups_of

    first, second = continuations(groups_of(read_chains([report[1]])))
    assert (first.prompt, second.prompt) == ("Prompt 1", "Prompt 2")
    assert first.columns[0] == "replace, repetition_penalty=1, seed 0"
    assert first.rows[2] == (2, ["2"] * 4)


def test_a_real_chain_is_reported_with_its_pooled_figures(finished_chain, tmp_path):
    finished, _, _ = finished_chain
    files = write_sweep_report([finished.folder], tmp_path / "report")
    names = {path.stem for path in files.figures}
    assert {
        "reference_perplexity_histograms",
        "reference_perplexity_histograms_3d",
        "perplexity_by_generation",
    } <= names
    recorded = {name for line in read_lines(finished.folder / "generations.jsonl") for name in line}
    assert set(files.aggregated["metric"]) == recorded - {"generation", "seed", "regime"}


# ---- histograms -----------------------------------------------------------------------------------------------


def recorded(counts, edges):
    return RecordedHistogram(0, "any", np.array(counts), np.array(edges))


def test_rebinning_keeps_every_value_once():
    line = recorded([10, 0, 30], [0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(rebinned([line], np.array([-5.0, 0.5, 2.5, 10.0])), [5 / 40, 20 / 40, 15 / 40])
    np.testing.assert_allclose(rebinned([line, line], np.array([0.0, 3.0])), [1.0])


def test_pooling_weighs_runs_by_their_values():
    few, many = recorded([10], [0.0, 1.0]), recorded([90], [1.0, 2.0])
    np.testing.assert_allclose(rebinned([few, many], np.array([0.0, 1.0, 2.0])), [0.1, 0.9])


# ---- scripts --------------------------------------------------------------------------------------------------


def test_the_scripts_cannot_end_themselves():
    for script in (vega_script(), (TEMPLATES / "report.js").read_text()):
        assert "</script" not in script.lower()
        assert "vegaEmbed" in script
