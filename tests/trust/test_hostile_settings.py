"""Random hostile settings: none runs, reads or writes anything, and what refuses them is what is hostile in them."""

import random
import sys

import pytest
from hostile_settings import KINDS, PLUGIN_RESOLVER, SECRET, SECRET_VARIABLE, hostile_settings
from omegaconf import OmegaConf

from conftest import run_command

CHAIN = ("experiment=paper_gaussian", "generations=2", "data.rows=20", "model.replicates=2", "tracking=none")
SEED = 15
EACH = 16
"""Hostile settings of each kind."""


@pytest.fixture
def answer_to(tmp_path, monkeypatch):
    """Answer a command with hostile settings or their twins, after a check that nothing ran or was read or written."""
    import shutil

    source, marker, folder = tmp_path / "source", tmp_path / "ran", tmp_path / "files"
    source.write_text("x")
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    OmegaConf.register_new_resolver(PLUGIN_RESOLVER, shutil.copyfile, replace=True)

    def answer(hostile):
        case = hostile.planted(source, marker, folder)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path, content in case.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
        before = sorted(tmp_path.rglob("*"))
        given = run_command([*_common(case, tmp_path), *case.arguments], tmp_path, tmp_path, case.configuration)
        assert not marker.exists(), case
        assert "antigravity" not in sys.modules, case
        assert SECRET not in given.out + given.err, case
        assert "Traceback" not in given.err, (case, given.err)
        assert sorted(tmp_path.rglob("*")) == before, case
        return given

    yield answer
    OmegaConf.clear_resolver(PLUGIN_RESOLVER)


def _common(case, place):
    """The chain that is planned, but for what the case sets itself."""
    own = {case.place, *(argument.partition("=")[0] for argument in case.arguments)}
    folders = (f"{name}={place / name}" for name in ("paths.store", "hydra.run.dir", "hydra.sweep.dir"))
    return [word for word in (*CHAIN, *folders, "plan=true") if word.partition("=")[0] not in own]


def check(case, answer_to, accepted):
    refused = answer_to(case)
    assert refused.code == 2, (case, refused.out)
    assert case.place.split(".")[0] in refused.err, (case, refused.err)
    key = (case.twin.arguments, tuple(case.twin.files.values()), case.configuration)
    if key not in accepted:
        accepted.add(key)
        good = answer_to(case.twin)
        assert good.code == 0, (case.twin, good.err)


def test_a_hostile_setting_of_each_kind_is_refused_and_its_twin_accepted(answer_to):
    accepted = set()
    for case in hostile_settings(len(KINDS), SEED):
        check(case, answer_to, accepted)


@pytest.mark.slow
def test_hostile_settings_are_refused_and_their_twins_accepted(answer_to):
    accepted = set()
    for case in hostile_settings(EACH * len(KINDS), random.Random(SEED).randrange(10**6)):
        check(case, answer_to, accepted)
