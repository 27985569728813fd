"""What a GPU needs of the native engine, as far as a CPU can tell.

A step asks nothing of the host, on the meta device, where no number is known; recorded for one batch it is right for
every other. The recorder here does to a CPU what a CUDA graph does: it keeps operators with the addresses and numbers
that they had, and knows no Python. What is left needs a GPU.
"""

import numpy as np
import pytest
import torch
from small_networks import as_on_gpus, network, network_of, other_networks, settings
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modelcollapse.decoding.native import NativeEngine, engine
from modelcollapse.decoding.native.key_value_slots import KeyValueSlots
from modelcollapse.decoding.native.recorded_steps import RecordedSteps
from modelcollapse.seeding import Stream

STREAM = Stream(0, 0, "synthesis")
LENGTH, NEW, BATCH = 7, 12, 4

CONFIGS = {name: other_networks()[name] for name in ("gpt2", "llama, heads that share")}
NETWORKS = ("opt", *CONFIGS)
OPTIONS = [
    {"beams": 5},
    {"beams": 3, "repetition_penalty": 2.0, "no_repeat_ngram": 2},
    {"beams": 1, "no_repeat_ngram": 3},
    {"kind": "sample"},
    {"kind": "sample", "top_k": 7, "top_p": 0.8, "temperature": 1.3, "repetition_penalty": 1.5},
    {"kind": "sample", "min_p": 0.1, "typical_p": 0.8, "epsilon": 0.01},
]


def model_called(name):
    return network(num_hidden_layers=2, vocab_size=67) if name == "opt" else network_of(CONFIGS[name])


def options_with(**changed):
    return settings(**{"batch_size": BATCH, "new_tokens": NEW, **changed})


def groups_of_prompts(count=4):
    generator = torch.Generator().manual_seed(2)
    prompts = torch.randint(0, 67, (count, BATCH, LENGTH), generator=generator)
    # Texts that repeat themselves bring penalties and forbidden n-grams about.
    prompts[:, ::2, 3:6] = prompts[:, ::2, :3]
    return list(prompts)


def texts_on(device, model, options):
    """Room for a batch, as the engine makes it."""
    made = NativeEngine(model.to(device), options, STREAM)
    slots = KeyValueSlots.zeroed(made._network, BATCH, made._writer.slots_needed(LENGTH))
    return made._writer.texts(LENGTH, slots)


def tensors_in(*found):
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]


# ---- nothing is asked of the host ----------------------------------------------------------------------------------


class NoOtherDevice(TorchDispatchMode):
    """Stops at a tensor that is not on the meta device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        assert all(each.device.type == "meta" for each in tensors_in(args, kwargs, result)), func
        return result


class NoNumbersOfTheHost(TorchFunctionMode):
    """Stops at lists and arrays of numbers, which would be copied to a GPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.tensor, torch.as_tensor, torch.from_numpy), func
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(each, (list, np.ndarray)) for each in index), args[1]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_a_step_looks_at_no_number_and_at_nothing_outside_its_device(name, options, precision):
    texts = texts_on("meta", model_called(name), options_with(**options, precision=precision))
    # Not in inference mode: operators would not be taken apart into those that look.
    with torch.no_grad():
        texts.begin(
            torch.empty(BATCH, LENGTH, dtype=torch.int64, device="meta"), torch.empty(BATCH, NEW, device="meta")
        )
        with NoOtherDevice(), NoNumbersOfTheHost():
            for number in range(1, NEW):
                texts.step(number)
        assert texts.generated().shape == (BATCH, NEW)


@pytest.mark.parametrize(
    "look",
    [
        lambda tensor: bool((tensor > 0).all()),
        lambda tensor: tensor[tensor > 0],
        lambda tensor: tensor[:, [0, 1]],
        lambda tensor: tensor + torch.tensor([1.0], device="meta"),
        lambda tensor: tensor + torch.ones(1),
    ],
    ids=["a question", "a selection", "a list", "numbers", "another device"],
)
def test_these_guards_see_who_looks(look):
    refused = pytest.raises((AssertionError, RuntimeError, NotImplementedError))
    with torch.no_grad(), refused, NoOtherDevice(), NoNumbersOfTheHost():
        look(torch.zeros(2, 3, device="meta"))


# ---- what was recorded for one batch is right for another ----------------------------------------------------------


class Tape(TorchDispatchMode):
    """The operators of a step, each with the tensors and numbers that it had."""

    def __init__(self):
        super().__init__()
        self._calls, self._own, self._before = [], set(), {}
        self.replays = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            self._keep(tensors_in(args, kwargs))
        given = {place_of(each) for each in tensors_in(args, kwargs)}
        result = func(*args, **kwargs)
        assert all(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)), f"{func} gives a number"
        self._own |= {place_of(each) for each in tensors_in(result)} - given
        self._calls.append((func, args, kwargs, result))
        return result

    def _keep(self, changed):
        for each in changed:
            if place_of(each) not in self._own:
                self._before.setdefault(place_of(each), (each.untyped_storage(), each.untyped_storage().clone()))

    def undo(self):
        """As if nothing had run: recording a CUDA graph runs nothing."""
        for storage, before in self._before.values():
            storage.copy_(before)

    def replay(self):
        self.replays += 1
        for func, args, kwargs, result in self._calls:
            again = func(*args, **kwargs)
            for old, new in zip(tensors_in(result), tensors_in(again), strict=True):
                if place_of(old) != place_of(new):
                    old.copy_(new)


def place_of(tensor):
    return tensor.untyped_storage().data_ptr()


class Tapes:
    """Records on tapes."""

    def __init__(self):
        self.tapes, self.warmed_up = [], 0

    def warm_up(self, step):
        self.warmed_up += 1
        step()

    def record(self, step):
        self.tapes.append(Tape())
        with self.tapes[-1]:
            step()
        self.tapes[-1].undo()
        return self.tapes[-1].replay


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_recorded_steps_write_what_steps_write(name, options, monkeypatch):
    """Four batches, a smaller one among them, and each under a number of its own, which decides what chance does."""
    as_on_gpus(monkeypatch)
    model, groups = model_called(name), groups_of_prompts()
    groups.insert(2, groups[0][:3])
    plain, tapes = NativeEngine(model, options_with(**options), STREAM), Tapes()
    expected = [plain.continue_prompts(prompts, group).tolist() for group, prompts in enumerate(groups)]
    monkeypatch.setattr(engine, "recorder_for", lambda device: tapes)
    recorded = NativeEngine(model, options_with(**options), STREAM)
    assert [recorded.continue_prompts(prompts, group).tolist() for group, prompts in enumerate(groups)] == expected
    assert tapes.warmed_up == NEW - 1
    assert [tape.replays for tape in tapes.tapes] == [3] * (NEW - 1)
    assert len({str(tokens) for tokens in expected}) == len(expected)


def test_parts_of_a_batch_and_another_length_are_recorded_anew(monkeypatch):
    as_on_gpus(monkeypatch)
    model, prompts = network(), torch.randint(3, 30, (16, LENGTH), generator=torch.Generator().manual_seed(0))
    plain, tapes = NativeEngine(model, options_with(batch_size=16), STREAM), Tapes()
    monkeypatch.setattr(engine, "recorder_for", lambda device: tapes)
    memory = 4.5 * plain._bytes_per_prompt(LENGTH) / 1e9
    recorded = NativeEngine(model, options_with(batch_size=16, memory_gb=memory), STREAM)
    assert recorded.prompts_at_once(LENGTH) == 4
    for length in (LENGTH, LENGTH - 1, LENGTH):
        own = prompts[:, :length]
        assert recorded.continue_prompts(own, 0).tolist() == plain.continue_prompts(own, 0).tolist()
    assert [tape.replays for tape in tapes.tapes] == [3] * 3 * (NEW - 1)


def kept_number(tensor):
    tensor += float(tensor[0])


def kept_shape(tensor):
    tensor += len(tensor.nonzero())


@pytest.mark.parametrize("step", [kept_number, kept_shape])
def test_a_tape_does_not_take_a_number_of_the_first_batch(step):
    state = torch.ones(2)
    wrong = False
    try:
        steps = RecordedSteps([lambda: step(state)], Tapes())
        for start in ([1.0, 1.0], [1.0, 1.0], [0.0, 3.0]):
            state.copy_(torch.tensor(start))
            steps()
            expected = torch.tensor(start)
            step(expected)
            wrong |= not torch.equal(state, expected)
    except AssertionError:
        wrong = True
    assert wrong


def test_a_tape_shows_where_state_moves():
    state = {"sum": torch.zeros(2), "new": torch.zeros(2)}

    def step():
        state["sum"] = state["sum"] + state["new"]

    steps = RecordedSteps([step, step], Tapes())
    for number in (1.0, 2.0, 3.0):
        state["sum"].fill_(10 * number)
        state["new"].fill_(number)
        steps()
    assert state["sum"].tolist() != [36.0, 36.0]


# ---- state stays where it is ---------------------------------------------------------------------------------------


def addresses(thing):
    """Where the tensors that a thing of ours keeps are, by name."""
    found = {}
    for name, value in vars(thing).items():
        if isinstance(value, torch.Tensor):
            found[name] = value.data_ptr()
        elif type(value).__module__.endswith((".history", ".ancestry", ".key_value_slots")) and hasattr(
            value, "__dict__"
        ):
            found |= {f"{name}.{inner}": place for inner, place in addresses(value).items()}
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_state_stays_where_it_is(options, monkeypatch):
    as_on_gpus(monkeypatch)
    texts = texts_on("cpu", network(vocab_size=67), options_with(**options))
    before, chance = addresses(texts), torch.rand(BATCH, NEW, dtype=torch.float64)
    assert len(before) >= 4
    with torch.inference_mode():
        for prompts in groups_of_prompts(2):
            texts.begin(prompts, chance)
            for number in range(1, NEW):
                texts.step(number)
                assert addresses(texts) == before
        assert texts.generated().data_ptr() not in before.values()


# ---- on a GPU ------------------------------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def written_on_gpu(model, options, groups):
    made = NativeEngine(model.cuda(), options, STREAM)
    return [made.continue_prompts(prompts.cuda(), group).cpu() for group, prompts in enumerate(groups)]


@needs_gpu
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_graphs_write_what_steps_write(name, options, precision, monkeypatch):
    groups, options = groups_of_prompts(), options_with(**options, precision=precision)
    graphs = written_on_gpu(model_called(name), options, groups)
    monkeypatch.setattr(engine, "recorder_for", lambda device: None)
    steps = written_on_gpu(model_called(name), options, groups)
    assert torch.equal(torch.cat(graphs), torch.cat(steps))


@needs_gpu
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_graphs_write_what_a_cpu_writes(name, options):
    groups, options = groups_of_prompts(8), options_with(**options)
    cpu = NativeEngine(model_called(name), options, STREAM)
    expected = torch.cat([cpu.continue_prompts(prompts, group) for group, prompts in enumerate(groups)])
    found = torch.cat(written_on_gpu(model_called(name), options, groups))
    assert (found == expected).all(1).float().mean() > 0.9


@needs_gpu
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_step_waits_for_nothing(options):
    texts = texts_on("cuda", network(vocab_size=67), options_with(**options))
    with torch.inference_mode():
        chance = torch.rand(BATCH, NEW, dtype=torch.float64).cuda()
        for waiting in ("default", "error"):
            texts.begin(groups_of_prompts(1)[0].cuda(), chance)
            torch.cuda.set_sync_debug_mode(waiting)
            try:
                for number in range(1, NEW):
                    texts.step(number)
            finally:
                torch.cuda.set_sync_debug_mode("default")
