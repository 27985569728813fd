"""The laboratory for model collapse.

``modelcollapse.record.results(PATH)`` reads every run at or below a folder into one table.
"""

from typing import Any

# Imported here and not on demand: importing the module later would put it in the function's place.
from modelcollapse.record.results import results

__all__ = ["__version__", "results"]


def __getattr__(name: str) -> Any:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("modelcollapse")
