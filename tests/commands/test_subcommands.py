"""The command ``modelcollapse``: its sub-commands, what they cost to ask, and completion."""

import argparse
import os
import subprocess
import sys
from importlib import import_module

import pytest

from modelcollapse.commands.subcommands import COMMANDS, run

HEAVY = ("torch", "pytorch_lightning", "transformers", "datasets", "pandas", "pyarrow", "matplotlib", "wandb", "numpy")


def test_help_names_every_command_and_a_wrong_one_gets_the_nearest(capsys):
    assert run([]) == run(["--help"]) == 0
    said = capsys.readouterr().out
    for command, (_, meaning) in COMMANDS.items():
        assert f"  {command:12}{meaning}\n" in said
    assert run(["reprot", "somewhere"]) == 2
    assert "reprot: there is no such command (did you mean report?); there are: train, sweep" in capsys.readouterr().err


def test_the_version_is_this_programs_and_not_hydras(capsys):
    from importlib.metadata import version

    assert run(["--version"]) == run(["train", "--version"]) == run(["store", "--version"]) == 0
    assert capsys.readouterr().out == f"modelcollapse {version('modelcollapse')}\n" * 3


def test_helps_and_a_typo_import_nothing_heavy(tmp_path):
    """One process asks for all of them."""
    code = f"""
import contextlib, io, sys
from modelcollapse.commands.subcommands import COMMANDS, run
for arguments in [["--help"], *([command, "--help"] for command in COMMANDS), ["train", "sead=1"], ["comparre"]]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = run(arguments)
        except SystemExit as leaving:
            code = leaving.code
    print(*arguments, code or 0, len(said.getvalue()) > 50)
print([name for name in {HEAVY} if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    *lines, heavy = answer.stdout.splitlines()
    helps = [f"{command} --help 0 True" for command in COMMANDS]
    assert lines == ["--help 0 True", *helps, "train sead=1 2 True", "comparre 2 True"]
    assert heavy == "[]"


def documented(parser):
    """What a page must say of the arguments of a parser, those of its sub-commands too: name and help text."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield choice.dest, choice.help
            for subparser in action.choices.values():
                yield from documented(subparser)
        elif action.help != argparse.SUPPRESS and "--help" not in action.option_strings:
            yield " ".join([*action.option_strings, *([action.metavar] if action.metavar else [])]), action.help


def test_the_page_says_what_the_help_says(repository):
    page = (repository / "docs" / "commands.md").read_text()
    sections = dict(section.partition("\n")[::2] for section in page.split("\n## "))
    for command, (place, meaning) in COMMANDS.items():
        assert f"| [`{command}`](#{command}) | {meaning} |\n" in page
        module, section = import_module(place.partition(":")[0]), sections[f"`{command}`"]
        assert f"modelcollapse {command}" in section
        for name, text in documented(module.parser()) if hasattr(module, "parser") else ():
            assert f"| `{name}` | {text} |\n" in section, (command, name)


def completed(cwd, line):
    """What bash would be offered after a line."""
    words = [sys.executable, "-c", "from modelcollapse.commands.subcommands import main; main()", "-sc", "query=bash"]
    environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    answer = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=True)
    return answer.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("modelcollapse re", ["report", "replay"]),
        ("modelcollapse ", list(COMMANDS)),
        ("modelcollapse train regime=gol", ["regime=golden_ratio"]),
        ("modelcollapse sweep regime=replace trainer.accel", ["trainer.accelerator="]),
        ("modelcollapse report out", []),
    ],
)
def test_tab_completion_offers_commands_and_what_hydra_offers(tmp_path, line, offered):
    assert completed(tmp_path, line) == offered


def test_commands_that_messages_name_are_those_that_were_typed(train, monkeypatch, capsys, tmp_path):
    words = ["model=gaussian", "experiment=paper_gaussian", "generations=1", "data.rows=20", "model.replicates=2"]
    places = [f"paths.store={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / 'run'}", "tracking=none"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/modelcollapse"])
    assert run(["train", *words, *places]) == 0
    assert "next    modelcollapse train model=gaussian" in capsys.readouterr().out
    assert '"command_line": "modelcollapse train model=gaussian ' in (tmp_path / "run" / "chain.json").read_text()
    monkeypatch.setattr(sys, "argv", ["/somewhere/modelcollapse/__main__.py"])
    with pytest.raises(SystemExit):
        run(["export", "--help"])
    assert "usage: python -m modelcollapse export" in capsys.readouterr().out
