"""What a record states in its settings and lists: plain values of bounded size, and no contradiction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from etab.precisions import NAMED
from etab.results import Predictions, Result
from etab.results.notes import LONGEST_NOTE, MOST_NOTES

_MOST_METRICS = 100
_LARGEST_NUMBER = 100_000
_NUMBERS = ("head_version", "runs_version", "backbone_version", "size", "n_fold")
_WORDS = ("family", "interpolation")
_WORD = re.compile(r"[A-Za-z0-9 ._-]{0,40}")


def wrong_statements(result: Result, table: Predictions) -> Iterator[str]:
    """Name what a record states in a form that no run writes, or that its predictions contradict.

    Args:
        result: The record.
        table: Its predictions.

    Yields:
        One sentence for each.
    """
    for name in _NUMBERS:
        number = result.settings.get(name)
        if number is not None and not _is_number(number):
            yield f"its {name} is {_short(number)}; wanted a whole number up to {_LARGEST_NUMBER}"
    precision = result.settings.get("precision", "")
    if precision not in ("", None, *NAMED):
        yield f"its precision is {_short(precision)}; etab computes in {', '.join(NAMED)}"
    for name in _WORDS:
        word = result.settings.get(name)
        if word is not None and not (isinstance(word, str) and _WORD.fullmatch(word)):
            yield f"its {name} is {_short(word)}; wanted at most 40 letters, digits, spaces, . _ -"
    yield from wrong_notes(result)
    if len(result.metrics) > _MOST_METRICS:
        yield f"it states {len(result.metrics)} metrics; wanted at most {_MOST_METRICS}"
    missing = {item for item, _ in result.missing}.intersection(table.items)
    if missing:
        yield f"{_short(min(missing))} is listed as missing and is among its predictions"


def wrong_notes(result: Result) -> Iterator[str]:
    """Name notes that are no short texts; a board shows the notes of its results.

    Args:
        result: The record.

    Yields:
        At most one sentence.
    """
    notes = result.settings.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        yield f"its notes are {_short(notes)}; wanted a list of texts"
    elif len(notes) > MOST_NOTES or any(len(note) > LONGEST_NOTE for note in notes):
        yield f"its notes are more than {MOST_NOTES}, or longer than {LONGEST_NOTE} characters"


def _is_number(value: Any) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and 0 <= value <= _LARGEST_NUMBER


def _short(value: Any) -> str:
    return ascii(str(value)[:40])
