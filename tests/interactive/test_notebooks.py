"""The notebooks of the documents: they run, and their stored outputs are those of a run."""

import json
import re
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
IN_EVERY_RUN = "own_metric_and_scorer"
LOCAL_PATH = re.compile(r"(^|[\s\"'=(])/(home|root|tmp|Users|work|usr|mnt)/")


@pytest.fixture(scope="module")
def executed(repository):
    """The tool that executes notebooks."""
    pytest.importorskip("nbclient")
    sys.path.insert(0, str(repository / "tools"))
    try:
        import execute_notebooks
    finally:
        sys.path.pop(0)
    return execute_notebooks.executed


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == IN_EVERY_RUN else pytest.mark.slow) for name in NAMES]
)
def test_a_notebook_runs_and_its_stored_outputs_have_the_shape_of_the_run(executed, tmp_path, name):
    path = NOTEBOOKS / f"{name}.ipynb"
    stored = json.loads(path.read_text(encoding="utf-8"))
    found = executed(path, tmp_path)
    assert [shape(cell) for cell in stored["cells"]] == [shape(cell) for cell in found.cells]
    code = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    # One output that changes while chains run, and what the cell itself shows.
    assert all(len(cell["outputs"]) <= 2 for cell in code)


def shape(cell):
    """What a cell's outputs are, without what they say."""
    return [
        cell["cell_type"],
        *(
            (output["output_type"], output.get("name"), *sorted(output.get("data", {})))
            for output in cell.get("outputs", ())
        ),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_notebook_holds_no_error_no_warning_and_no_path_of_a_machine(name):
    for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
            texts = [
                output.get("text", ""),
                *(output.get("data", {}).get(kind, "") for kind in ("text/plain", "text/html")),
            ]
            assert not any(LOCAL_PATH.search("".join(text)) for text in texts)
