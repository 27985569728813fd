"""Settings whose references or YAML aliases double what they refer to are refused, in bounded time and memory."""

import pytest

from conftest import run_command

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


def test_aliases_are_allowed(tmp_path):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text(HEAD + "metrics:\n  add: &names []\n  remove: *names\n")
    words = [f"--config-dir={tmp_path / 'mine'}", "experiment=own", "plan=true", "tracking=none", "generations=1"]
    answer = run_command(words, tmp_path, tmp_path)
    assert answer.code == 0, answer.err
