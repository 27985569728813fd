"""Checkpoints of plain data: what goes in comes out, and nothing that could run code goes in."""

import json

import pytest
import torch

from modelcollapse.training.checkpoints import SafeCheckpointIO


def assert_equal(one, other):
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert torch.equal(torch.nan_to_num(one.float(), nan=7), torch.nan_to_num(other.float(), nan=7))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other


def test_what_goes_in_comes_out(tmp_path):
    shared = torch.arange(4)
    content = {
        "epoch": 3,
        "rate": 0.1 + 0.2,
        "infinite": float("inf"),
        "nothing": None,
        "flag": True,
        "text": "ä\n",
        "empty": {"list": [], "tuple": (), "dict": {}},
        "state": {0: {"step": torch.tensor(3.0)}, 1: {"step": torch.tensor(4.0)}},
        "names that look like our own": {"tensor": "0", "items": [1], "tuple": (1, [2, (3,)])},
        "tensors": [torch.zeros(0, 3), torch.tensor([1, -2], dtype=torch.int32), torch.tensor([float("nan")])],
        "halves": (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.float16)),
        "not contiguous": torch.arange(6.0).reshape(2, 3).T,
        "twice": [shared, shared],
        "parameter": torch.nn.Parameter(torch.ones(2)).detach(),
    }
    plugin = SafeCheckpointIO()
    plugin.save_checkpoint(content, tmp_path / "one")
    assert_equal(plugin.load_checkpoint(tmp_path / "one"), content)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["structure.json", "tensors.safetensors"]


@pytest.mark.parametrize("content", [object(), {1, 2}, torch.nn.Linear(1, 1), lambda: None, b"bytes", 1j])
def test_what_is_no_plain_data_is_refused(tmp_path, content):
    with pytest.raises(TypeError, match="plain data only"):
        SafeCheckpointIO().save_checkpoint({"deep": [{"inside": content}]}, tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_a_checkpoint_replaces_another_whole(tmp_path):
    plugin = SafeCheckpointIO()
    plugin.save_checkpoint({"a": torch.zeros(3), "b": 1}, tmp_path / "one")
    plugin.save_checkpoint({"c": 2}, tmp_path / "one")
    assert plugin.load_checkpoint(tmp_path / "one") == {"c": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_a_kill_left_behind_does_not_disturb_the_next(tmp_path):
    staged = tmp_path / ".one.staged"
    staged.mkdir()
    (staged / "structure.json").write_text("{half")
    plugin = SafeCheckpointIO()
    plugin.save_checkpoint({"a": 1}, tmp_path / "one")
    assert plugin.load_checkpoint(tmp_path / "one") == {"a": 1}
    assert not staged.exists()


def test_a_checkpoint_is_json_and_safetensors(tmp_path):
    from safetensors.torch import load_file

    SafeCheckpointIO().save_checkpoint({"a": torch.ones(2), "b": (1,)}, tmp_path / "one")
    json.loads((tmp_path / "one" / "structure.json").read_text())
    assert [tensor.tolist() for tensor in load_file(tmp_path / "one" / "tensors.safetensors").values()] == [[1, 1]]


def test_removing(tmp_path):
    plugin = SafeCheckpointIO()
    plugin.save_checkpoint({"a": 1}, tmp_path / "one")
    plugin.remove_checkpoint(tmp_path / "one")
    plugin.remove_checkpoint(tmp_path / "one")
    assert list(tmp_path.iterdir()) == []
