"""The public names of the package: importable at once, and themselves whatever else has been imported."""

import pkgutil
import subprocess
import sys
from importlib import import_module

import modelcollapse


def test_public_names_are_themselves_after_every_submodule_was_imported():
    for module in pkgutil.walk_packages(modelcollapse.__path__, "modelcollapse."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    names = [name for name in modelcollapse.__all__ if name != "__version__"]
    assert [name for name in names if not callable(getattr(modelcollapse, name))] == []
    assert {"main", "metric", "regime", "results", "Draw"} <= {*names}


def test_naming_what_an_extension_needs_imports_nothing_heavy():
    names = "metric, scorer, rule, regime, loss, merge, edit, optimizer, schedule, logger, dataset, decoder, family"
    heavy = "{'torch', 'transformers', 'pandas', 'numpy', 'hydra', 'wandb', 'matplotlib'}"
    program = f"import sys; from modelcollapse import {names}; print(sorted({heavy} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"
