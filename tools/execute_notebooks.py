"""Executes the notebooks of the documents, and stores their outputs: ``python tools/execute_notebooks.py [NAME ...]``.

Each runs in an empty folder, with a store of its own and no Weights & Biases. Needs the extra ``test``.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
ENVIRONMENT = {"MODELCOLLAPSE_STORE": "store", "WANDB_MODE": "disabled", "PYTHONHASHSEED": "0"}
CELL_SECONDS = 500
CARRIED_METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python"},
}


def executed(path: Path, folder: Path) -> Any:
    """The notebook, run in ``folder``. Raises CellExecutionError where a cell raises what it is not marked to raise."""
    notebook = nbformat.read(path, as_version=4)
    with _environment(ENVIRONMENT):
        NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3").execute(cwd=str(folder))
    for cell in notebook.cells:
        # Times at which cells began and ended.
        cell.metadata.pop("execution", None)
    notebook.metadata = nbformat.from_dict(CARRIED_METADATA)
    return notebook


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    # The kernel's own choice: figures appear in the notebook.
    os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main(names: list[str]) -> None:
    """Execute the notebooks of these names, or all."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            with TemporaryDirectory() as folder:
                notebook = executed(path, Path(folder))
            nbformat.write(notebook, path)
            print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
