"""Plans of chains and grids as objects: what would be computed, how long it would take, and the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelcollapse.config.composing import python_errors
from modelcollapse.interactive.display import html_of
from modelcollapse.interactive.isolation import short_tracebacks, unchanged_libraries, unchanged_process
from modelcollapse.interactive.overrides import has_several_values, overrides_of
from modelcollapse.interactive.running import composed
from modelcollapse.interactive.sweeping import grid_of
from modelcollapse.sweeps.points import Point

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from modelcollapse.store import Artifact
    from modelcollapse.sweeps.planning import GridPlan


@short_tracebacks
def plan(*overrides: str, jobs: int = 1, grid: bool = False, **settings: Any) -> Plan:
    """What a run or sweep would compute, how long it would take, and the disk; nothing is computed or written.

    Args:
        *overrides: as of :func:`modelcollapse.run` and :func:`modelcollapse.sweep`.
        jobs: chains that would run at once.
        grid: plan a sweep though no setting is given several values: that of the experiment, or of three seeds.
        **settings: further overrides by name; a list, tuple, range or array stands for several values.

    Raises:
        SettingsError: the settings are not allowed; ``problems`` holds everything that is wrong.
    """
    from modelcollapse.sweeps.planning import plans_of

    with unchanged_process(), python_errors():
        words = overrides_of(overrides, settings, several=True)
        if grid or has_several_values([word for word in words if word[:1] != "-"]):
            points: Sequence[Point] = grid_of(words).points
        else:
            points = [Point(0, tuple(words), (), composed(words)[0])]
        with unchanged_libraries():
            return Plan(plans_of(points), jobs)


class Plan:
    """The plan of one or several chains; it shows itself.

    Args:
        plans: one for each store.
        jobs: chains that would run at once.
    """

    def __init__(self, plans: Sequence[GridPlan], jobs: int = 1) -> None:
        self._plans, self._jobs = plans, jobs

    @property
    def missing(self) -> int:
        """How many artifacts would be computed."""
        return sum(len(plan.missing) for plan in self._plans)

    @property
    def seconds(self) -> float | None:
        """Time that they are expected to take one after the other; None where the store holds nothing like them.

        Artifacts unlike all in the store are not counted: ``artifacts`` has none of their times.
        """
        known = [plan.seconds(plan.missing) for plan in self._plans]
        timed = [seconds for seconds in known if seconds is not None]
        return sum(timed) if timed else (None if self.missing else 0.0)

    @property
    def bytes(self) -> int:
        """Disk that they are expected to take, as far as it is known."""
        return sum(plan.bytes for plan in self._plans)

    @property
    def artifacts(self) -> pd.DataFrame:
        """A row an artifact that is there or would be computed, parents first.

        Columns: ``artifact``, ``kind``, ``key``, ``state`` (``finished`` or ``to compute``), ``chains`` (how many use
        it), ``seconds`` and ``bytes``, those of what would be computed as expected.
        """
        import pandas as pd

        columns = ["artifact", "kind", "key", "state", "chains", "seconds", "bytes"]
        rows = [_row(plan, artifact, len(users)) for plan in self._plans for artifact, users in plan.users.items()]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        return self._shown()[1].rstrip()

    def _repr_html_(self) -> str:
        return self._shown()[0]

    def _shown(self) -> tuple[str, str]:
        from rich.console import Group
        from rich.text import Text

        from modelcollapse.sweeps.planning import plan_totals, plan_tree

        parts: list[RenderableType] = []
        for plan in self._plans:
            parts.append(plan_tree(plan))
            parts += [Text(line) for line in plan_totals(plan, self._jobs)]
        return html_of(Group(*parts))


def _row(plan: GridPlan, artifact: Artifact, users: int) -> tuple[Any, ...]:
    if plan.has(artifact):
        manifest = plan.store.manifest(artifact)
        size = sum(file.bytes for file in manifest.files.values())
        state: tuple[Any, ...] = ("finished", users, manifest.seconds, size)
    else:
        expected = plan.expected[artifact]
        state = ("to compute", users, expected.seconds, expected.bytes)
    return (artifact.label, artifact.kind, artifact.key, *state)
