"""What the metrics are expected to be, where the chains' tables hold a closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelcollapse.models.presentation import Presentation
from modelcollapse.report.groups import Group

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "theory/"


def expectations(groups: Sequence[Group], presentations: Mapping[str, Presentation]) -> pd.DataFrame:
    """Columns ``group``, ``generation``, ``metric``, ``expected``; no rows where nothing is known.

    The table of any of a group's chains serves, since all expect the same; unfinished chains have none.
    """
    import pandas as pd

    frames = [pd.DataFrame({"group": [], "generation": [], "metric": [], "expected": []})]
    for group in groups:
        name = presentations[group.family].theory
        paths = [chain.folder / f"{name}.parquet" for chain in group.chains if name is not None]
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            frames.append(_expected(pd.read_parquet(path)).assign(group=group.label))
    return pd.concat(frames, ignore_index=True)


def _expected(table: pd.DataFrame) -> pd.DataFrame:
    columns = [str(name) for name in table if str(name).startswith(PREFIX)]
    long = table[["generation", *columns]].melt("generation", var_name="metric", value_name="expected")
    long["metric"] = long["metric"].str.removeprefix(PREFIX) + "/mean"
    return long[np.isfinite(long["expected"])]
