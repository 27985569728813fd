"""The built-in loggers besides Weights & Biases, which is chosen by ``tracking``; imports nothing heavy."""

from modelcollapse.registry import Member

MEMBERS = (Member("loggers", "csv", "modelcollapse.record.csv_view:CsvView"),)
