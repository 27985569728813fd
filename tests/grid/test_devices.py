"""Chains that run side by side on a machine with several GPUs use different ones."""

from modelcollapse.grid.devices import VISIBLE, gpu_of_its_own, visible_gpus


def test_each_chain_has_a_gpu_while_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv(VISIBLE, "2, 5")
    with gpu_of_its_own(tmp_path, 0) as first:
        with gpu_of_its_own(tmp_path, 1) as second, gpu_of_its_own(tmp_path, 3) as third:
            assert (first, second, third) == ({VISIBLE: "2"}, {VISIBLE: "5"}, {VISIBLE: "5"})
        with gpu_of_its_own(tmp_path, 4) as fourth:
            assert fourth == {VISIBLE: "5"}


def test_one_gpu_or_none_is_left_as_it_is(tmp_path, monkeypatch):
    for named in ("", "-1", "3"):
        monkeypatch.setenv(VISIBLE, named)
        with gpu_of_its_own(tmp_path / "devices", 0) as environment:
            assert environment == {}
    assert visible_gpus() == ["3"]
    assert not (tmp_path / "devices").exists()
