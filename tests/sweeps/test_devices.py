"""Chains that run side by side on a machine with several GPUs use different ones."""

from modelcollapse.config.automatic import VISIBLE, visible_gpus
from modelcollapse.sweeps.resources import gpus_of_its_own


def test_each_chain_has_a_gpu_while_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv(VISIBLE, "2, 5")
    with gpus_of_its_own(tmp_path, 0, 1) as first:
        with gpus_of_its_own(tmp_path, 1, 1) as second, gpus_of_its_own(tmp_path, 3, 1) as third:
            assert (first, second, third) == ({VISIBLE: "2"}, {VISIBLE: "5"}, {VISIBLE: "5"})
        with gpus_of_its_own(tmp_path, 4, 1) as fourth:
            assert fourth == {VISIBLE: "5"}


def test_one_gpu_or_none_is_left_as_it_is(tmp_path, monkeypatch):
    for named in ("", "-1", "3"):
        monkeypatch.setenv(VISIBLE, named)
        with gpus_of_its_own(tmp_path / "devices", 0, 1) as environment:
            assert environment == {}
    assert visible_gpus() == ["3"]
    assert not (tmp_path / "devices").exists()


def test_a_chain_that_several_devices_share_has_as_many(tmp_path, monkeypatch):
    monkeypatch.setenv(VISIBLE, "0,1,2")
    with gpus_of_its_own(tmp_path, 0, 2) as first:
        assert first == {VISIBLE: "0,1"}
        with gpus_of_its_own(tmp_path, 1, 2) as second:
            assert second == {VISIBLE: "2,1"}
    with gpus_of_its_own(tmp_path, 0, 4) as all_there_are:
        assert all_there_are == {VISIBLE: "0,1,2"}
