"""What is written when a chain has ended: its tables, its documents and its figures."""

from collections.abc import Sequence
from pathlib import Path

from modelcollapse.chain import Work
from modelcollapse.config.settings import ChainSettings
from modelcollapse.families.base import ChainTitle, Family
from modelcollapse.figures.style import save
from modelcollapse.record import Record


def write_report(record: Record, family: Family, works: Sequence[Work], settings: ChainSettings) -> list[Path]:
    """Write what the family has to show; returns the paths of the figures."""
    title = ChainTitle(model=family.title, regime=settings.regime.name, seeds=str(settings.seed))
    report = family.report([(work.generation.number, work.result) for work in works], title)
    for name, frame in report.tables.items():
        record.table(name, frame)
    for name, text in report.documents.items():
        record.document(name, text)
    paths = []
    for name, figure in report.figures.items():
        save(figure, record.folder / "figures", name)
        paths.append(record.folder / "figures" / f"{name}.png")
        record.figure(paths[-1])
    return paths
