"""``sweep.py report=PATH``: which words it takes, and where the report goes."""

import pytest

from modelcollapse.errors import UserError
from modelcollapse.record import ChainIdentity, Record
from modelcollapse.sweeps.reporting import report_on


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
    report_on([f"report={sweeps[0]}"])
    assert (sweeps[0] / "report" / "report.html").is_file()
    assert "report.html" in capsys.readouterr().out


def test_sweeps_are_compared_where_it_is_asked_for(sweeps, tmp_path):
    report_on([f"report={sweeps[0]},{sweeps[1]}", f"report_folder={tmp_path / 'both'}"])
    assert (tmp_path / "both" / "report.html").is_file()
    assert not (sweeps[0] / "report").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["report=nowhere,elsewhere"], "there is no folder nowhere, elsewhere"),
        (["report="], "names no folder"),
        (["report=nowhere", "seed=1", "regime=replace"], "regime, seed: no chain runs with report=PATH"),
    ],
)
def test_what_cannot_be_reported_on_is_told(words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        report_on(words)
