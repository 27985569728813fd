"""``modelcollapse report``: where the report goes, and what cannot be reported on."""

import pytest

from modelcollapse.commands.report import main
from modelcollapse.record import ChainIdentity, Record


@pytest.fixture
def sweeps(tmp_path):
    """Two sweeps, of which nothing but a run folder with two generations each is left."""
    for name in ("first", "second"):
        for seed in (0, 1):
            identity = ChainIdentity(f"{name}-{seed}", "e", "gaussian", "Gaussian", "replace", seed)
            config = {"seed": seed, "generations": 3, "regime": {"name": "replace"}, "data": {"rows": len(name)}}
            with Record(tmp_path / name / str(seed), identity, config) as record:
                for generation in range(2):
                    record.generation(generation, {"variance/mean": 1.0 + seed + generation})
    return tmp_path / "first", tmp_path / "second"


def test_a_sweep_is_reported_on_in_its_folder(sweeps, capsys):
    assert main([str(sweeps[0])]) == 0
    assert (sweeps[0] / "report" / "report.html").is_file()
    assert "report.html" in capsys.readouterr().out


def test_sweeps_are_compared_where_it_is_asked_for(sweeps, tmp_path):
    assert main([str(sweeps[0]), str(sweeps[1]), "--to", str(tmp_path / "both")]) == 0
    assert (tmp_path / "both" / "report.html").is_file()
    assert not (sweeps[0] / "report").exists()


@pytest.mark.parametrize(
    ("paths", "message"),
    [(["nowhere", "elsewhere"], "there is no folder nowhere, elsewhere"), (["."], "there is nothing to report")],
)
def test_what_is_not_there_or_has_no_runs_is_refused(paths, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(paths) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_old_spelling_says_the_new_one(train):
    finished = train("report=somewhere", configuration="sweep")
    assert finished.code == 2
    assert "modelcollapse report PATH" in finished.err
