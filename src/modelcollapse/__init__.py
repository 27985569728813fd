"""The laboratory for model collapse.

From Python and notebooks: :func:`run`, :func:`sweep` and :func:`plan`; :func:`load` and :func:`results` open what was
run before; :func:`measure`, :func:`compare` and :func:`export` work on it. ``main()`` is train.py and sweep.py for a
script that registers something of its own with the decorators, see :mod:`modelcollapse.api`.

Importing this module imports nothing heavy: what it names is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelcollapse.api import (
        callback,
        dataset,
        decoder,
        edit,
        family,
        logger,
        loss,
        merge,
        metric,
        optimizer,
        regime,
        rule,
        schedule,
        scorer,
    )
    from modelcollapse.commands.run import main
    from modelcollapse.errors import UserError
    from modelcollapse.interactive.finished import compare, export, measure
    from modelcollapse.interactive.planning import Plan, plan
    from modelcollapse.interactive.running import run
    from modelcollapse.interactive.runs import Run
    from modelcollapse.interactive.sweeping import ChainsFailed, Sweep, load, sweep
    from modelcollapse.metrics.diversity import repetition_rate
    from modelcollapse.record.run_tables import results
    from modelcollapse.regimes import Draw
    from modelcollapse.settings import SettingsError

_REGISTERING = ("callback", "dataset", "decoder", "edit", "family", "logger", "loss", "merge", "metric")
_PLACES = {
    **dict.fromkeys((*_REGISTERING, "optimizer", "regime", "rule", "schedule", "scorer"), "api"),
    "main": "commands.run",
    "repetition_rate": "metrics.diversity",
    "results": "record.run_tables",
    "Draw": "regimes",
    **dict.fromkeys(("compare", "export", "measure"), "interactive.finished"),
    **dict.fromkeys(("Plan", "plan"), "interactive.planning"),
    "Run": "interactive.runs",
    "run": "interactive.running",
    **dict.fromkeys(("ChainsFailed", "Sweep", "load", "sweep"), "interactive.sweeping"),
    "SettingsError": "settings",
    "UserError": "errors",
}
"""Public name -> module. No submodule may have such a name: importing it would put it in the name's place."""

__all__ = [
    "ChainsFailed",
    "Draw",
    "Plan",
    "Run",
    "SettingsError",
    "Sweep",
    "UserError",
    "__version__",
    "callback",
    "compare",
    "dataset",
    "decoder",
    "edit",
    "export",
    "family",
    "load",
    "logger",
    "loss",
    "main",
    "measure",
    "merge",
    "metric",
    "optimizer",
    "plan",
    "regime",
    "repetition_rate",
    "results",
    "rule",
    "run",
    "schedule",
    "scorer",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("modelcollapse")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
