"""Settings whose references or YAML aliases double what they refer to, grids without end and overrides that are nested
thousands of times are refused, in bounded time and memory.
"""

import numpy as np
import pytest

import modelcollapse as mc
from conftest import run_command
from modelcollapse.config.grid_bounds import check_nesting, values_of
from modelcollapse.config.hydra_internals import parsed
from modelcollapse.interactive.overrides import overrides_of
from modelcollapse.sweeps.points import read_grid

HEAD = "# @package _global_\ndefaults:\n  - paper_gaussian\n  - _self_\n"
DOUBLINGS = 40


def texts(last, length=DOUBLINGS, times=2):
    doubled = ["'" + f"${{tracking.tags[{number}]}}" * times + "'" for number in range(1, length + 1)]
    return f"tracking:\n  tags: [{', '.join([*doubled, last])}]\n"


def groups(place, last):
    names = [f"{place}.c{number}" for number in range(1, DOUBLINGS + 1)]
    lines = [f"    c{number}: {{a: '${{{name}}}', b: '${{{name}}}'}}\n" for number, name in enumerate(names)]
    return "".join(lines) + f"    c{DOUBLINGS}: {last}\n"


def aliases(opening, item, closing):
    lines = [f"  a{n + 1}: &a{n + 1} {opening}{item.format(1, n)}, {item.format(2, n)}{closing}\n" for n in range(40)]
    return f"x:\n  a0: &a0 {opening}{closing}\n" + "".join(lines)


BOMBS = {
    "a text that doubles": (texts("xx"), "tracking.tags.0: it leads to more than 20 references"),
    "a text that doubles nothing": (texts("''"), "tracking.tags.0: it leads to more than 20 references"),
    "a text that trebles": (texts("xx", 7, 3), "tracking.tags.0: it refers to more than 100 others"),
    "a long text": (f"name: '{'x' * 99_999}'\ntracking:\n  notes: '${{name}}${{name}}'\n", "100,000 characters"),
    "a group that doubles": (f"x:\n  y:\n{groups('x.y', '{a: 1}')}", "x: its references make more than 100,000"),
    "a group of Hydra": (f"hydra:\n  callbacks:\n{groups('hydra.callbacks', '{}')}", "hydra: its references make"),
    "a group in itself": (
        "callbacks: [{a: '${callbacks[1]}'}, {b: '${callbacks[0]}'}]\n",
        "callbacks: it refers",
    ),
    "a text in itself": ("name: ${data.name}\ndata:\n  name: ${name}\n", "name: ${data.name} leads nowhere"),
    "aliases of lists": (aliases("[", "*a{1}", "]"), "bomb.yaml: its references make more than 100,000"),
    "aliases of mappings": (aliases("{", "{0}: *a{1}", "}"), "bomb.yaml: its references make more than 100,000"),
    "an alias of itself": ("x: &a [*a]\n", "bomb.yaml: it refers to itself"),
    "references in references": (f"name: '{'${' * 3000}{'}' * 3000}'\n", "nested"),
    "many references": (f"name: '{'${hydra:job.num}' * 1000}'\n", "may have 10,000 characters"),
    "a large file": (f"name: {'x' * 1_000_001}\n", "bomb.yaml: is larger than 1,000,000 bytes"),
    "lists in lists": (f"x: {'[' * 5000}{']' * 5000}\n", "nested"),
}
"""What would take all memory, or never end, and what the refusal says."""


ALWAYS = ("a text that doubles", "a group that doubles", "aliases of lists", "an alias of itself", "many references")
"""Half a second each; the others run with the slow tests."""


@pytest.mark.parametrize(
    "bomb", [each if each in ALWAYS else pytest.param(each, marks=pytest.mark.slow) for each in BOMBS]
)
def test_a_bomb_is_refused(tmp_path, bomb):
    text, said = BOMBS[bomb]
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "bomb.yaml").write_text(HEAD + text)
    answer = run_command([f"--config-dir={tmp_path / 'mine'}", "experiment=bomb", "plan=true"], tmp_path, tmp_path)
    assert answer.code == 2, answer.out
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert len(answer.err) < 2000
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


MANY = "10,000 are allowed (modelcollapse.config.grid_bounds.MOST_POINTS)"
DEEP = "100 within one another"
TYPED = {
    "a range": ("sweep", ["seed=range(0,1e11)"], MANY),
    "a range of Hydra's own multirun": ("train", ["-m", "seed=range(0,1e11)"], MANY),
    "a range of whole numbers": ("sweep", ["seed=range(0,10001)"], MANY),
    "a range in small steps": ("sweep", ["seed=0", "model.training.learning_rate=range(1e-4,1e-3,1e-300)"], MANY),
    "a shuffled range": ("sweep", ["seed=shuffle(range(0,1e11))"], MANY),
    "a range that goes down": ("sweep", ["seed=sort(range(0,1e11),reverse=true)"], MANY),
    "a product": ("sweep", ["seed=range(0,200)", "generations=range(1,200)"], MANY),
    "a product with a grid of Hydra's": (
        "train",
        ["-m", "seed=0", "hydra.sweeper.params={seed: 'range(0,1e9)'}", "generations=range(1,10002)"],
        MANY,
    ),
    "a search over a grid": (
        "train",
        ["-m", "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "seed=range(0,1000)", "generations=range(1,100)"],
        MANY,
    ),
    "a search over a shuffled range": ("train", ["-m", "hydra/sweeper=optuna", "seed=shuffle(range(0,1e11))"], MANY),
    "no step": ("sweep", ["seed=range(0,1,0.0)"], "a range goes from a finite number to another"),
    "no end": ("sweep", ["seed=range(0,inf)"], "a range goes from a finite number to another"),
    "no value": ("sweep", ["seed=range(5,5)"], "it names no value"),
    "lists": ("train", [f"x={'[' * 5000}{']' * 5000}"], DEEP),
    "lists of a grid": ("sweep", [f"seed={'[' * 5000}{']' * 5000}"], DEEP),
    "lists of a multirun": ("train", ["-m", f"seed={'[' * 5000}{']' * 5000}"], DEEP),
    "lists beside others": ("train", [f"x={'[[],' * 5000}1{']' * 5000}"], DEEP),
    "mappings": ("train", [f"x={'{a:' * 5000}1{'}' * 5000}"], DEEP),
    "functions": ("train", [f"seed={'int(' * 5000}1{')' * 5000}"], DEEP),
    "a name": ("train", [f"+{'.'.join(['a'] * 5000)}=1"], DEEP),
}
"""What is typed, and what its refusal says."""
TYPED_ALWAYS = ("a range", "a range of Hydra's own multirun", "a product", "lists of a grid", "a name")


@pytest.mark.parametrize(
    "bomb", [each if each in TYPED_ALWAYS else pytest.param(each, marks=pytest.mark.slow) for each in TYPED]
)
def test_a_typed_bomb_is_refused(tmp_path, bomb):
    configuration, words, said = TYPED[bomb]
    answer = run_command(["experiment=paper_gmm", *words], tmp_path, tmp_path, configuration)
    assert answer.code == 2, answer.out
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert len(answer.err) < 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("values", [range(10**30), [[]] * 10_001, np.zeros((3, 5000))])
def test_a_bomb_given_in_python_is_refused(values):
    with pytest.raises(mc.SettingsError, match="seed: more than 10,000 values"):
        overrides_of([], {"seed": values}, several=True)
    with pytest.raises(mc.SettingsError, match="seed: more than 10,000 values"):
        overrides_of([], {"seed": [values]}, several=True)


def test_a_list_in_itself_is_refused():
    endless = []
    endless.append(endless)
    with pytest.raises(mc.SettingsError, match="100 lists and mappings"):
        overrides_of([], {"callbacks": endless})


def test_what_is_quoted_is_not_nested_and_a_search_draws_of_any_range(tmp_path):
    check_nesting([f"tracking.notes='{'[' * 500}'", 'name="' + "(" * 500 + '"', r"name='\'" + "{" * 500 + "'"])
    (search,) = parsed(["seed=range(0,1e11)"])
    assert values_of(search) == 10**11
    assert values_of(parsed(["seed=range(1,0,-0.1)"])[0]) == 10
    assert values_of(parsed(["seed=range(0,1,0.3)"])[0]) == 4


def test_a_glob_names_the_options_of_its_group():
    regimes = {
        point.settings.regime.name for point in read_grid(["regime=glob([re*,acc*],exclude=*served)", "seed=0"]).points
    }
    assert {"replace", "accumulate"} <= regimes


def test_aliases_are_allowed(tmp_path):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text(HEAD + "metrics:\n  add: &names []\n  remove: *names\n")
    words = [f"--config-dir={tmp_path / 'mine'}", "experiment=own", "plan=true", "tracking=none", "generations=1"]
    answer = run_command(words, tmp_path, tmp_path)
    assert answer.code == 0, answer.err
