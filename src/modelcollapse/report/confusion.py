"""The confusion tables of selections, a row a group."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from modelcollapse.report.differences import last_generation
from modelcollapse.report.groups import Group
from modelcollapse.selections.report import confusion_row


def confusion_table(groups: Sequence[Group], shown: pd.DataFrame) -> pd.DataFrame:
    """A row a group whose right candidates are known: counts and rates of its last generation, means over its chains.

    Args:
        groups: The groups.
        shown: A row a group, generation and metric, see :func:`modelcollapse.report.tables.shown_statistics`.
    """
    rows = []
    for group in groups:
        last = last_generation(group)
        own = shown[(shown["group"] == group.label) & (shown["generation"] == last)]
        cells = confusion_row(dict(zip(own["metric"].astype(str), own["mean"].astype(float), strict=True)))
        if cells is not None:
            rows.append({"group": group.label, "generation": last, **cells})
    return pd.DataFrame(rows)
