"""Results: the record of a cell, its table of predictions, and folders of both."""

from etab.results.fields import SCHEMA
from etab.results.folder import ResultFiles, load_results, read_results
from etab.results.predictions import Predictions, number_text
from etab.results.record import Result

__all__ = [
    "SCHEMA",
    "Predictions",
    "Result",
    "ResultFiles",
    "load_results",
    "number_text",
    "read_results",
]
