"""``make mutants``: what is changed, and that what is written down of it is so."""

import ast
import subprocess
import sys

import pytest

SOURCE = '''"""A module."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

LIMIT: "int" = 3


def spread(values: list[float], power: int = 2) -> float:
    """The spread: 1 + 1 is not changed here."""
    if not values:
        raise ValueError(f"{len(values) + 1} values")
    values.sort()
    return sum(values) / -len(values) if values[0] < LIMIT else 0.5
'''
CHANGED = {
    'LIMIT: "int" = 4',
    "def spread(values: list[float], power: int = 3) -> float:",
    "if values:",
    "pass",
    "return sum(values) * -len(values) if values[0] < LIMIT else 0.5",
    "return max(values) / -len(values) if values[0] < LIMIT else 0.5",
    "return sum(values) / len(values) if values[0] < LIMIT else 0.5",
    "return sum(values) / -len(values) if values[0] <= LIMIT else 0.5",
    "return sum(values) / -len(values) if values[0] > LIMIT else 0.5",
    "return sum(values) / -len(values) if values[1] < LIMIT else 0.5",
    "return sum(values) / -len(values) if values[0] < LIMIT else 1.5",
}


@pytest.fixture
def tools(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools"))
    import mutants
    import mutations

    return mutants, mutations


def test_what_decides_something_is_changed_and_nothing_else(tools):
    _, mutations = tools
    found = mutations.mutations(SOURCE)
    assert {mutation.after for mutation in found} == CHANGED
    for mutation in found:
        lines = ast.unparse(mutations.mutated(SOURCE, mutation)).splitlines()
        differing = [line for line in ast.unparse(ast.parse(SOURCE)).splitlines() if line not in lines]
        assert len(differing) <= 1, mutation


def test_equivalent_mutants_and_the_tests_of_modules_are_there(tools, repository):
    mutants, mutations = tools
    for tests in mutants.MODULES.values():
        assert all((repository / "tests" / test).exists() for test in tests)
    known = mutants.known_equivalents()
    for module in {module for module, _, _ in known}:
        every = mutations.mutations(mutants.file_of(module).read_text(encoding="utf-8"))
        lines = {(mutation.before, mutation.after) for mutation in every}
        assert {(before, after) for where, before, after in known if where == module} <= lines


@pytest.mark.slow
def test_all_mutants_of_a_small_module_are_killed(repository):
    program = [sys.executable, "tools/mutants.py", "--only", "report/possible", "--per-module", "1000"]
    finished = subprocess.run(program, cwd=repository, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "| `report/possible` | 10 |" in finished.stdout
