"""The report of a sweep: tidy tables, statistics over seeds, the paper's figures, and a page that needs no network.

:func:`write_sweep_report` makes all of it from run folders as :mod:`modelcollapse.record` writes them, finished or not.
"""

from modelcollapse.report.sweep import ReportFiles, write_sweep_report

__all__ = ["ReportFiles", "write_sweep_report"]
